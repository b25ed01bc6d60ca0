//! Forms as `multipart/form-data`, which `curl -F` sends: the values in them. Files in them are passed over.

use std::str;

/// Parts of a form; more are refused.
const PARTS_MAX: usize = 1_000;
/// Bytes of one part's head.
const HEAD_BYTES_MAX: usize = 4 << 10;
/// As the standard has it.
const BOUNDARY_BYTES_MAX: usize = 70;

/// Why a body is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("the form's content type names no boundary of 1 to {BOUNDARY_BYTES_MAX} bytes")]
    Boundary,
    #[error("the form is cut off: its last boundary is missing")]
    CutOff,
    #[error("part {0} of the form has a head without end, or of more than {HEAD_BYTES_MAX} bytes")]
    Head(usize),
    #[error("the form has more than {PARTS_MAX} parts")]
    TooMany,
}

/// What stands between the parts, if `kind`, a content type, is one of such forms.
pub(super) fn boundary(kind: &str) -> Option<Result<String, FormError>> {
    let (kind, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary").filter(|b| (1..=BOUNDARY_BYTES_MAX).contains(&b.len()));
    Some(boundary.ok_or(FormError::Boundary))
}

/// Name and value pairs of a form. O(length).
pub(super) fn pairs(body: &[u8], boundary: &str) -> Result<Vec<(String, String)>, FormError> {
    let mark = format!("--{boundary}");
    let mut rest = first_part(body, mark.as_bytes()).ok_or(FormError::CutOff)?;
    let mut pairs = Vec::new();
    for number in 1.. {
        // Behind a mark: the end, or the next part.
        if rest.starts_with(b"--") {
            break;
        }
        if number > PARTS_MAX {
            return Err(FormError::TooMany);
        }
        let part = rest.strip_prefix(b"\r\n").ok_or(FormError::CutOff)?;
        let head = part.get(..part.len().min(HEAD_BYTES_MAX)).unwrap_or_default();
        // A head without any line ends at once.
        let (head, from) = match find(head, b"\r\n\r\n") {
            _ if head.starts_with(b"\r\n") => (&head[..0], 2),
            Some(end) => (&head[..end], end + 4),
            None => return Err(FormError::Head(number)),
        };
        let (value, behind) = until_mark(&part[from..], mark.as_bytes()).ok_or(FormError::CutOff)?;
        if let Some(name) = name_of(head) {
            pairs.push((name, String::from_utf8_lossy(value).into_owned()));
        }
        rest = behind;
    }
    Ok(pairs)
}

/// What follows the first mark; a preamble may stand before it.
fn first_part<'a>(body: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    match body.strip_prefix(mark) {
        Some(rest) if is_behind_a_mark(rest) => Some(without_blanks(rest)),
        _ => until_mark(body, mark).map(|(_, rest)| rest),
    }
}

/// What stands before the next line that is a mark, and what behind it.
fn until_mark<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    // An empty value ends with the line that its head ended with.
    if let Some(rest) = bytes.strip_prefix(mark).filter(|rest| is_behind_a_mark(rest)) {
        return Some((&[], without_blanks(rest)));
    }
    let mut from = 0;
    loop {
        let at = from + find(&bytes[from..], b"\r\n--")?;
        match bytes[at + 2..].strip_prefix(mark) {
            Some(rest) if is_behind_a_mark(rest) => return Some((&bytes[..at], without_blanks(rest))),
            _ => from = at + 2,
        }
    }
}

/// Whether these bytes follow a boundary, and not the beginning of a longer one.
fn is_behind_a_mark(rest: &[u8]) -> bool {
    rest.starts_with(b"--") || without_blanks(rest).starts_with(b"\r\n")
}

fn without_blanks(rest: &[u8]) -> &[u8] {
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &rest[blanks..]
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The name of a value: a part that has none, or one of a file, is not wanted.
fn name_of(head: &[u8]) -> Option<String> {
    let head = str::from_utf8(head).ok()?;
    let of = |line: &'_ str| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then(|| value.trim().to_owned())
    };
    let disposition = head.split("\r\n").find_map(of)?;
    let (kind, parameters) = disposition.split_once(';')?;
    let is_file = || parameter(parameters, "filename").or_else(|| parameter(parameters, "filename*")).is_some();
    let name = parameter(parameters, "name").filter(|name| !name.is_empty())?;
    (kind.trim().eq_ignore_ascii_case("form-data") && !is_file()).then_some(name)
}

/// The value of one of `a=b; c="d \" e"`.
fn parameter(mut rest: &str, wanted: &str) -> Option<String> {
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = value(behind)?;
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = behind;
    }
}

/// A value, in quotes or not, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            // Of what can be escaped; a path with backslashes in it is meant as it stands.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(parts: &[(&str, &str)]) -> String {
        let part = |(head, value): &(&str, &str)| format!("--B\r\n{head}\r\n\r\n{value}\r\n");
        parts.iter().map(part).collect::<String>() + "--B--\r\n"
    }

    fn read(body: &str) -> Result<Vec<(String, String)>, FormError> {
        pairs(body.as_bytes(), "B")
    }

    fn is(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, FormError> {
        Ok(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn values_are_read_and_files_passed_over() {
        let two = form(&[
            ("Content-Disposition: form-data; name=\"query\"", "up{a=\"b\"}\r\n> 0"),
            ("content-type: text/plain\r\ncontent-disposition:form-data;name=match[]", ""),
            ("Content-Disposition: form-data; name=\"file\"; filename=\"C:\\a.txt\"", "1"),
            ("Content-Disposition: attachment; name=\"x\"", "2"),
            ("X: y", "3"),
            ("Content-Disposition: form-data; name=\"a \\\"b\\\"\"", "--Bx\r\n--BB"),
        ]);
        let expected = is(&[("query", "up{a=\"b\"}\r\n> 0"), ("match[]", ""), ("a \"b\"", "--Bx\r\n--BB")]);
        assert_eq!(read(&two), expected);
        assert_eq!(read(&format!("preamble\r\n{two}epilogue")), expected);
        assert_eq!(read("--B  \r\nContent-Disposition: form-data; name=a\r\n\r\n--B--"), is(&[("a", "")]));
        assert_eq!(read("--B\r\n\r\nno head\r\n--B--"), is(&[]));
        assert_eq!(read("--B--"), is(&[]));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let whole = form(&[("Content-Disposition: form-data; name=a", "1")]);
        for cut in 0..whole.len() - 4 {
            assert!(matches!(read(&whole[..cut]), Err(FormError::CutOff | FormError::Head(1))), "{cut}");
        }
        assert_eq!(
            read(&format!("--B\r\nX: {}\r\n\r\n1\r\n--B--", "y".repeat(HEAD_BYTES_MAX))),
            Err(FormError::Head(1))
        );
        let parts = |n: usize| form(&vec![("Content-Disposition: form-data; name=a", "1"); n]);
        assert_eq!(read(&parts(PARTS_MAX)).map(|pairs| pairs.len()), Ok(PARTS_MAX));
        assert_eq!(read(&parts(PARTS_MAX + 1)), Err(FormError::TooMany));
    }

    #[test]
    fn a_boundary_is_named_by_the_content_type() {
        assert_eq!(boundary("application/x-www-form-urlencoded"), None);
        assert_eq!(boundary("Multipart/Form-Data; charset=x; boundary=\"a b\""), Some(Ok("a b".to_owned())));
        assert_eq!(boundary("multipart/form-data; Boundary=ab"), Some(Ok("ab".to_owned())));
        for none in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"a"] {
            assert_eq!(boundary(none), Some(Err(FormError::Boundary)), "{none}");
        }
        let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
        assert_eq!(boundary(&long), Some(Err(FormError::Boundary)));
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(values in prop::collection::vec("[ -~\r\n]{0,30}", 0..6)) {
            prop_assume!(values.iter().all(|value| !value.contains("--B")));
            let parts: Vec<_> =
                values.iter().map(|value| ("Content-Disposition: form-data; name=\"a\"", value.as_str())).collect();
            let expected: Vec<_> = values.iter().map(|value| ("a".to_owned(), value.clone())).collect();
            prop_assert_eq!(read(&form(&parts)), Ok(expected));
        }

        #[test]
        fn bytes_from_outside_never_panic(bytes in "(--B|\r\n|-|name=|[a-z:;\"=\\\\ ]){0,40}") {
            let _ = read(&bytes);
            let _ = boundary(&format!("multipart/form-data;{bytes}"));
        }
    }
}
