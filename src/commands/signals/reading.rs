//! Files, read line by line on a thread of their own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use flate2::bufread::MultiGzDecoder;
use pulsegate_write_side::adapter::{CloudFront, LINE_LEN_MAX, Line, LineError, Mapping};
use tokio::sync::mpsc;

/// Most lines that go on together.
const CHUNK_LINES_MAX: usize = 1_000;
/// How a gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Some lines of a file.
pub(super) struct Chunk {
    /// Which of the files.
    pub(super) file: usize,
    /// How much of all files has been read, in bytes as they lie on disk.
    pub(super) bytes: u64,
    pub(super) lines: Vec<Numbered>,
}

/// A line with its number, from 1.
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) line: Result<Line, LineError>,
}

/// Reads the files one after another and hands on what is in them, until nobody listens any more.
pub(super) fn read_files(files: &[PathBuf], mapping: &Mapping, chunks: &mpsc::Sender<Chunk>) -> anyhow::Result<()> {
    let bytes = Arc::new(AtomicU64::new(0));
    for (file, path) in files.iter().enumerate() {
        let failed = || format!("failed to read {}", path.display());
        let mut lines = open(path, &bytes).with_context(failed)?;
        let mut log = CloudFront::new(mapping);
        let mut chunk = Vec::new();
        let mut number = 0;
        let mut line = Vec::new();
        while next_line(&mut lines, &mut line).with_context(failed)? {
            number += 1;
            chunk.push(Numbered { number, line: log.line(&line) });
            // What comes through a pipe goes on as soon as nothing more is there.
            if chunk.len() >= CHUNK_LINES_MAX || lines.buffer().is_empty() {
                let lines = std::mem::take(&mut chunk);
                if chunks.blocking_send(Chunk { file, bytes: bytes.load(Ordering::Relaxed), lines }).is_err() {
                    return Ok(());
                }
            }
        }
        if !chunk.is_empty() {
            let rest = Chunk { file, bytes: bytes.load(Ordering::Relaxed), lines: chunk };
            if chunks.blocking_send(rest).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A file, or the standard input, with gzip undone.
fn open(path: &Path, bytes: &Arc<AtomicU64>) -> io::Result<BufReader<Box<dyn Read>>> {
    let raw: Box<dyn Read> = if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut counted = BufReader::new(Counted { raw, bytes: Arc::clone(bytes) });
    let is_gzip = counted.fill_buf()?.starts_with(&GZIP);
    let plain: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(counted)) } else { Box::new(counted) };
    Ok(BufReader::new(plain))
}

/// Reads the next line, without its end; of one that is too long only so much that this can be told.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let most = u64::try_from(LINE_LEN_MAX + 2).unwrap_or(u64::MAX);
    if lines.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > LINE_LEN_MAX {
        lines.skip_until(b'\n')?;
    }
    Ok(true)
}

/// Counts what is read.
struct Counted<R> {
    raw: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_any_length_is_one_line() {
        let long = "x".repeat(LINE_LEN_MAX * 3);
        let text = format!("a\n\n{long}\nb");
        let mut lines = BufReader::new(text.as_bytes());
        let mut line = Vec::new();
        let mut lengths = Vec::new();
        while next_line(&mut lines, &mut line).unwrap() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [1, 0, LINE_LEN_MAX + 2, 1]);
    }
}
