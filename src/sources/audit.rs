//! Looks into audit logs of Kubernetes: how many events, and from when to when.

use std::io::Write;

use jiff::Timestamp;

use crate::inventory::Events;

/// When the event was noted; it stands in each, and grows along a log.
const STAMP: &[u8] = b"\"stageTimestamp\":\"";

/// Longest line that is looked at, in bytes. The API server cuts objects off far earlier.
const LONGEST: usize = 16 << 20;

/// How a log file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the end of the file's name.
    pub fn of(path: &str) -> Compression {
        match path.rsplit('.').next() {
            Some("gz") => Compression::Gzip,
            Some("zst") => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// Counts the events of files that are pushed one after the other.
#[derive(Default)]
pub(super) struct AuditLog {
    current: Option<Decoder>,
    events: Option<Events>,
    undecodable: u64,
}

/// The file that is being read.
enum Decoder {
    Plain(Lines),
    Gzip(Box<flate2::write::MultiGzDecoder<Lines>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Lines>>),
    /// It could not be decompressed any further.
    Broken(Option<Events>),
}

impl AuditLog {
    /// The next file begins.
    pub fn begin(&mut self, compression: Compression) {
        self.end();
        self.current = Some(match compression {
            Compression::None => Decoder::Plain(Lines::default()),
            Compression::Gzip => Decoder::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Lines::default()))),
            Compression::Zstd => match zstd::stream::write::Decoder::new(Lines::default()) {
                Ok(decoder) => Decoder::Zstd(Box::new(decoder)),
                Err(_) => Decoder::Broken(None),
            },
        });
    }

    /// More of the file.
    pub fn push(&mut self, content: &[u8]) {
        let Some(current) = &mut self.current else { return };
        let (pushed, events) = match current {
            Decoder::Plain(lines) => (lines.write_all(content), None),
            Decoder::Gzip(decoder) => (decoder.write_all(content), decoder.get_ref().events.clone()),
            Decoder::Zstd(decoder) => (decoder.write_all(content), decoder.get_ref().events.clone()),
            Decoder::Broken(_) => return,
        };
        if pushed.is_err() {
            self.undecodable += 1;
            *current = Decoder::Broken(events);
        }
    }

    fn end(&mut self) {
        let ended = match self.current.take() {
            None => return,
            Some(Decoder::Plain(lines)) => Ok(lines.finish()),
            Some(Decoder::Gzip(mut decoder)) => {
                let so_far = decoder.get_ref().events.clone();
                decoder.try_finish().map(|()| std::mem::take(decoder.get_mut()).finish()).map_err(|_| so_far)
            }
            Some(Decoder::Zstd(mut decoder)) => {
                let so_far = decoder.get_ref().events.clone();
                decoder.flush().map(|()| decoder.into_inner().finish()).map_err(|_| so_far)
            }
            Some(Decoder::Broken(events)) => Ok(events),
        };
        let events = ended.unwrap_or_else(|so_far| {
            self.undecodable += 1;
            so_far
        });
        match (&mut self.events, events) {
            (Some(all), Some(more)) => all.add(&more),
            (None, Some(more)) => self.events = Some(more),
            (_, None) => {}
        }
    }

    /// The events of all files, and how many of these could not be decompressed to their end.
    pub fn finish(mut self) -> (Option<Events>, u64) {
        self.end();
        (self.events, self.undecodable)
    }
}

/// Takes the events out of lines that come in pieces.
#[derive(Default)]
struct Lines {
    /// The begin of a line whose end is still to come.
    begun: Vec<u8>,
    events: Option<Events>,
}

impl Lines {
    fn line(&mut self, line: &[u8]) {
        let stamp = memchr::memmem::find(line, STAMP).map(|at| &line[at + STAMP.len()..]);
        let text = stamp.and_then(|rest| Some(&rest[..memchr::memchr(b'"', rest)?]));
        let at = text.and_then(|text| std::str::from_utf8(text).ok()?.parse::<Timestamp>().ok());
        let Some(at) = at else { return };
        let seen = self.events.get_or_insert(Events { count: 0, first: at, last: at, files: Vec::new() });
        seen.count += 1;
        seen.first = seen.first.min(at);
        seen.last = seen.last.max(at);
    }

    fn finish(mut self) -> Option<Events> {
        let last = std::mem::take(&mut self.begun);
        self.line(&last);
        self.events
    }
}

impl Write for Lines {
    fn write(&mut self, content: &[u8]) -> std::io::Result<usize> {
        let mut rest = content;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            if self.begun.is_empty() {
                self.line(&rest[..at]);
            } else {
                let mut line = std::mem::take(&mut self.begun);
                line.extend_from_slice(&rest[..at]);
                self.line(&line);
            }
            rest = &rest[at + 1..];
        }
        if self.begun.len() < LONGEST {
            self.begun.extend_from_slice(rest);
        }
        Ok(content.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(hours: std::ops::Range<u32>) -> Vec<u8> {
        let line = |hour| {
            format!(
                "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"requestReceivedTimestamp\":\
                 \"2026-11-20T00:00:00.000000Z\",\"stageTimestamp\":\"2026-11-20T{hour:02}:00:00.123456Z\"}}\n"
            )
        };
        hours.map(line).collect::<String>().into_bytes()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn counted(files: &[(Compression, Vec<u8>)]) -> (Option<Events>, u64) {
        let mut audit = AuditLog::default();
        for (compression, content) in files {
            audit.begin(*compression);
            content.chunks(37).for_each(|piece| audit.push(piece));
        }
        audit.finish()
    }

    #[test]
    fn events_are_counted_across_files_and_compressions() {
        let files = [
            (Compression::Gzip, [gzip(&log(2..4)), gzip(&log(4..5))].concat()),
            (Compression::Zstd, zstd::bulk::compress(&log(5..9), 1).unwrap()),
            (Compression::None, [log(9..10), b"no event\n".to_vec(), log(10..12)[..200].to_vec()].concat()),
        ];
        let (events, undecodable) = counted(&files);
        let events = events.unwrap();
        assert_eq!((events.count, undecodable), (9, 0));
        assert_eq!(events.first.to_string(), "2026-11-20T02:00:00.123456Z");
        assert_eq!(events.last.to_string(), "2026-11-20T10:00:00.123456Z");
    }

    #[test]
    fn a_file_that_cannot_be_decompressed_is_told_and_the_others_count() {
        let whole = gzip(&log(0..20));
        let cut = (Compression::Gzip, whole[..whole.len() - 20].to_vec());
        let broken = (Compression::Zstd, b"this is no zstd at all".to_vec());
        let (events, undecodable) = counted(&[cut, broken, (Compression::None, log(21..22))]);
        assert_eq!(undecodable, 2);
        assert_eq!(events.unwrap().last.to_string(), "2026-11-20T21:00:00.123456Z");
        assert_eq!(counted(&[(Compression::None, b"nothing\n".to_vec())]), (None, 0));
    }
}
