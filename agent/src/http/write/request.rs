//! Remote write 1.0 and 2.0 requests, handed out series by series.
//!
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/> and
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.

use tidegauge::SeriesId;

use super::super::wire::{Field, Message, WireError};
use super::known::KEY_BYTES_MAX;

/// Samples of one series in one request. Senders batch a few thousand of all series.
const SAMPLES_PER_SERIES_MAX: usize = 1 << 20;
/// Labels of one series; the engine's own limit is far lower and names the series.
const LABELS_PER_SERIES_MAX: usize = 1 << 10;
/// Texts in a 2.0 request's table.
const SYMBOLS_MAX: usize = 1 << 20;

/// Which of the two protocols a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// What a request holds, in the order of the body.
#[derive(Debug, PartialEq)]
pub(crate) enum Item<'a, 'b> {
    /// A series and its samples.
    Series(&'b Series<'a>),
    /// What a metric means, sent beside the series (1.0).
    Metadata { metric: &'a str, kind: u64, help: &'a str, unit: &'a str },
}

/// One series of a request. Labels and samples are as sent: not validated, not sorted.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Series<'a> {
    /// Which it is, if that was found.
    pub(crate) id: Option<SeriesId>,
    /// The labels as bytes that it may be found by later; empty if there are none such, or it was found.
    pub(crate) key: Vec<u8>,
    /// Name and value. Of a series that was found 1.0 leaves them out.
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    /// Milliseconds since the epoch, value.
    pub(crate) samples: Vec<(i64, f64)>,
    /// How many native histograms were sent; they are not decoded.
    pub(crate) histograms: usize,
    /// How many exemplars were sent; they are not decoded.
    pub(crate) exemplars: usize,
    /// Type, help and unit (2.0).
    pub(crate) metadata: Option<(u64, &'a str, &'a str)>,
}

impl Series<'_> {
    fn clear(&mut self) {
        self.id = None;
        self.key.clear();
        self.labels.clear();
        self.samples.clear();
        (self.histograms, self.exemplars, self.metadata) = (0, 0, None);
    }
}

/// Prometheus' number of a metric's type, as its word.
pub(crate) fn kind_name(kind: u64) -> &'static str {
    match kind {
        1 => "counter",
        2 => "gauge",
        3 => "histogram",
        4 => "gaugehistogram",
        5 => "summary",
        6 => "info",
        7 => "stateset",
        _ => "unknown",
    }
}

/// Finds the series that is known by these bytes.
pub(crate) type Find<'f> = &'f dyn Fn(&[u8]) -> Option<SeriesId>;

/// A body, and what all of it refers to.
pub(crate) struct Request<'a> {
    protocol: Protocol,
    body: Message<'a>,
    /// The table of texts (2.0).
    symbols: Vec<&'a str>,
}

/// Where in a body an item begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a>(Message<'a>);

/// Reads a body, item by item.
pub(crate) struct Walk<'r, 'a> {
    request: &'r Request<'a>,
    rest: Message<'a>,
    /// The last one, for its memory.
    series: Series<'a>,
}

impl<'a> Request<'a> {
    /// # Errors
    /// [`WireError`] if it can be told already that the body is no such request.
    pub(crate) fn new(protocol: Protocol, body: &'a [u8]) -> Result<Self, WireError> {
        let body = Message::new(body);
        let mut symbols = Vec::new();
        if protocol == Protocol::V2 {
            // Complete before the first series is read, wherever it stands.
            let mut walk = body;
            while let Some((number, field)) = walk.field()? {
                if number == 4 {
                    room(symbols.len(), SYMBOLS_MAX, &walk, "too many symbols")?;
                    symbols.push(field.bytes(&walk)?.text()?);
                }
            }
            if symbols.first().is_some_and(|first| !first.is_empty()) {
                return Err(body.wrong("the first symbol must be empty"));
            }
        }
        Ok(Self { protocol, body, symbols })
    }

    /// From the beginning.
    pub(crate) fn walk(&self) -> Walk<'_, 'a> {
        self.walk_from(Place(self.body))
    }

    /// From a place of this body on.
    pub(crate) fn walk_from(&self, place: Place<'a>) -> Walk<'_, 'a> {
        Walk { request: self, rest: place.0, series: Series::default() }
    }
}

impl<'a> Walk<'_, 'a> {
    /// Where the next item begins.
    pub(crate) fn place(&self) -> Place<'a> {
        Place(self.rest)
    }

    /// The next item, or `None` at the end. A series that `find` knows is given by its id; its labels may be left out.
    ///
    /// # Errors
    /// [`WireError`] if the body is no such request.
    pub(crate) fn next(&mut self, find: Find<'_>) -> Result<Option<Item<'a, '_>>, WireError> {
        while let Some((number, field)) = self.rest.field()? {
            match (self.request.protocol, number) {
                (Protocol::V1, 1) => {
                    series_v1(field.bytes(&self.rest)?, &mut self.series, find)?;
                    return Ok(Some(Item::Series(&self.series)));
                }
                (Protocol::V1, 3) => return metadata_v1(field.bytes(&self.rest)?).map(Some),
                (Protocol::V2, 5) => {
                    series_v2(field.bytes(&self.rest)?, &self.request.symbols, &mut self.series, find)?;
                    return Ok(Some(Item::Series(&self.series)));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// What `find` knows was read before, byte by byte the same: it is not looked at again.
fn series_v1<'a>(mut from: Message<'a>, series: &mut Series<'a>, find: Find<'_>) -> Result<(), WireError> {
    series.clear();
    let whole = from;
    let mut leading = from.leading(1);
    series.id = find(leading.raw());
    if series.id.is_none() {
        if leading.raw().len() <= KEY_BYTES_MAX {
            series.key.extend_from_slice(leading.raw());
        }
        while let Some((_, field)) = leading.field()? {
            push_label(field.bytes(&leading)?, &leading, series)?;
        }
    }
    while let Some((number, field)) = from.field()? {
        match number {
            // Labels behind something else: all of them together tell the series.
            1 if series.id.is_some() => return series_v1(whole, series, &|_| None),
            1 => {
                push_label(field.bytes(&from)?, &from, series)?;
                series.key.clear();
            }
            2 => push_sample(field.bytes(&from)?, series)?,
            3 => series.exemplars += 1,
            4 => series.histograms += 1,
            _ => {}
        }
    }
    Ok(())
}

fn push_label<'a>(label: Message<'a>, at: &Message<'_>, series: &mut Series<'a>) -> Result<(), WireError> {
    room(series.labels.len(), LABELS_PER_SERIES_MAX, at, "too many labels in one series")?;
    series.labels.push(label_v1(label)?);
    Ok(())
}

fn label_v1(mut from: Message<'_>) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    while let Some((number, field)) = from.field()? {
        match number {
            1 => name = field.bytes(&from)?.text()?,
            2 => value = field.bytes(&from)?.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn metadata_v1<'a, 'b>(mut from: Message<'a>) -> Result<Item<'a, 'b>, WireError> {
    let (mut kind, mut metric, mut help, mut unit) = (0, "", "", "");
    while let Some((number, field)) = from.field()? {
        match number {
            1 => kind = field.varint(&from)?,
            2 => metric = field.bytes(&from)?.text()?,
            4 => help = field.bytes(&from)?.text()?,
            5 => unit = field.bytes(&from)?.text()?,
            _ => {}
        }
    }
    Ok(Item::Metadata { metric, kind, help, unit })
}

/// Samples are the same in both protocols (2.0's start timestamp is not kept).
fn push_sample(mut from: Message<'_>, series: &mut Series<'_>) -> Result<(), WireError> {
    room(series.samples.len(), SAMPLES_PER_SERIES_MAX, &from, "too many samples in one series")?;
    if let Some((value, millis)) = from.double_and_varint() {
        series.samples.push((millis as i64, value));
        return Ok(());
    }
    let (mut value, mut millis) = (0.0, 0);
    while let Some((number, field)) = from.field()? {
        match number {
            1 => value = field.double(&from)?,
            // An int64 travels as the same 64 bits.
            2 => millis = field.varint(&from)? as i64,
            _ => {}
        }
    }
    series.samples.push((millis, value));
    Ok(())
}

fn series_v2<'a>(
    mut from: Message<'a>,
    symbols: &[&'a str],
    series: &mut Series<'a>,
    find: Find<'_>,
) -> Result<(), WireError> {
    series.clear();
    let mut name = None;
    while let Some((number, field)) = from.field()? {
        match number {
            1 => {
                let at = from;
                let mut label = |reference| {
                    room(series.labels.len(), LABELS_PER_SERIES_MAX, &at, "too many labels in one series")?;
                    let text = symbol(symbols, reference, &at)?;
                    match name.take() {
                        None => name = Some(text),
                        Some(name) => series.labels.push((name, text)),
                    }
                    Ok::<(), WireError>(())
                };
                match field {
                    Field::Bytes(mut packed) => {
                        while let Some(reference) = packed.packed()? {
                            label(reference)?;
                        }
                    }
                    // Readers of packed lists take unpacked ones too.
                    Field::Varint(reference) => label(reference)?,
                    _ => return Err(from.wrong("wrong wire type")),
                }
            }
            2 => push_sample(field.bytes(&from)?, series)?,
            3 => series.histograms += 1,
            4 => series.exemplars += 1,
            5 => series.metadata = Some(metadata_v2(field.bytes(&from)?, symbols)?),
            _ => {}
        }
    }
    if name.is_some() {
        return Err(from.wrong("a label name without a value"));
    }
    // References mean something else in each request: what they stand for, as 1.0 would send it.
    for (name, value) in &series.labels {
        // A reference of one byte may stand for megabytes.
        if series.key.len() + name.len() + value.len() > KEY_BYTES_MAX {
            series.key.clear();
            return Ok(());
        }
        put_label(&mut series.key, name, value);
    }
    series.id = find(&series.key);
    Ok(())
}

fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let text = |text: &str| 1 + varint_len(text.len()) + text.len();
    put_head(out, 1, text(name) + text(value));
    for (number, text) in [(1, name), (2, value)] {
        put_head(out, number, text.len());
        out.extend_from_slice(text.as_bytes());
    }
}

/// Of a field of bytes.
fn put_head(out: &mut Vec<u8>, number: u8, mut len: usize) {
    out.push(number << 3 | 2);
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

fn varint_len(number: usize) -> usize {
    (number.max(1).ilog2() / 7 + 1) as usize
}

fn metadata_v2<'a>(mut from: Message<'_>, symbols: &[&'a str]) -> Result<(u64, &'a str, &'a str), WireError> {
    let (mut kind, mut help, mut unit) = (0, "", "");
    while let Some((number, field)) = from.field()? {
        match number {
            1 => kind = field.varint(&from)?,
            3 => help = symbol(symbols, field.varint(&from)?, &from)?,
            4 => unit = symbol(symbols, field.varint(&from)?, &from)?,
            _ => {}
        }
    }
    Ok((kind, help, unit))
}

fn symbol<'a>(symbols: &[&'a str], reference: u64, at: &Message<'_>) -> Result<&'a str, WireError> {
    let found = usize::try_from(reference).ok().and_then(|r| symbols.get(r)).copied();
    found.ok_or_else(|| at.wrong("reference to a symbol that is not there"))
}

fn room(held: usize, limit: usize, at: &Message<'_>, what: &'static str) -> Result<(), WireError> {
    if held < limit { Ok(()) } else { Err(at.wrong(what)) }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
