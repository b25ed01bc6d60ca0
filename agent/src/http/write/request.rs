//! Remote write 1.0 and 2.0 requests, handed out series by series.
//!
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/> and
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.

use super::super::wire::{Field, Message, WireError};

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
    /// Name and value.
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

/// Reads the whole body, calling `each` for every item up to the first error.
///
/// # Errors
/// [`WireError`] if the body is no such request.
pub(crate) fn read<'a>(
    protocol: Protocol,
    body: &'a [u8],
    each: &mut dyn FnMut(Item<'a, '_>),
) -> Result<(), WireError> {
    match protocol {
        Protocol::V1 => read_v1(Message::new(body), each),
        Protocol::V2 => read_v2(Message::new(body), each),
    }
}

fn read_v1<'a>(mut request: Message<'a>, each: &mut dyn FnMut(Item<'a, '_>)) -> Result<(), WireError> {
    let mut series = Series::default();
    while let Some((number, field)) = request.field()? {
        match number {
            1 => {
                series.clear();
                series_v1(field.bytes(&request)?, &mut series)?;
                each(Item::Series(&series));
            }
            3 => each(metadata_v1(field.bytes(&request)?)?),
            _ => {}
        }
    }
    Ok(())
}

fn series_v1<'a>(mut from: Message<'a>, series: &mut Series<'a>) -> Result<(), WireError> {
    while let Some((number, field)) = from.field()? {
        match number {
            1 => {
                room(series.labels.len(), LABELS_PER_SERIES_MAX, &from, "too many labels in one series")?;
                series.labels.push(label_v1(field.bytes(&from)?)?);
            }
            2 => push_sample(field.bytes(&from)?, series)?,
            3 => series.exemplars += 1,
            4 => series.histograms += 1,
            _ => {}
        }
    }
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

fn read_v2<'a>(request: Message<'a>, each: &mut dyn FnMut(Item<'a, '_>)) -> Result<(), WireError> {
    // The table of texts is complete before the first series is read, wherever it stands.
    let mut symbols = Vec::new();
    let mut walk = request;
    while let Some((number, field)) = walk.field()? {
        if number == 4 {
            room(symbols.len(), SYMBOLS_MAX, &walk, "too many symbols")?;
            symbols.push(field.bytes(&walk)?.text()?);
        }
    }
    if symbols.first().is_some_and(|first| !first.is_empty()) {
        return Err(request.wrong("the first symbol must be empty"));
    }
    let mut series = Series::default();
    let mut walk = request;
    while let Some((number, field)) = walk.field()? {
        if number == 5 {
            series.clear();
            series_v2(field.bytes(&walk)?, &symbols, &mut series)?;
            each(Item::Series(&series));
        }
    }
    Ok(())
}

fn series_v2<'a>(mut from: Message<'a>, symbols: &[&'a str], series: &mut Series<'a>) -> Result<(), WireError> {
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
    if name.is_some() { Err(from.wrong("a label name without a value")) } else { Ok(()) }
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
