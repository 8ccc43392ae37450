//! Just enough HTTP/1.1 to ask and to be answered, on one connection that is kept.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// No answer that is asked for here is longer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

#[derive(Clone, Copy)]
struct Head {
    status: u16,
    len: usize,
    body_len: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 8 << 10] })
    }

    /// Sends a request and reads its answer. One at a time, so what is read belongs to it.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read(filled).await?;
            if let Some(head) = Head::read(&self.buffer[..filled])? {
                break head;
            }
        };
        while filled < head.len + head.body_len {
            filled += self.read(filled).await?;
        }
        Ok(Answer { status: head.status, body: &self.buffer[head.len..head.len + head.body_len] })
    }

    async fn read(&mut self, filled: usize) -> io::Result<usize> {
        if filled == self.buffer.len() {
            if filled >= ANSWER_BYTES_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "the answer is too long"));
            }
            self.buffer.resize(filled * 2, 0);
        }
        match self.stream.read(&mut self.buffer[filled..]).await? {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            read => Ok(read),
        }
    }
}

impl Head {
    /// `None` if it is not all there yet.
    fn read(bytes: &[u8]) -> io::Result<Option<Self>> {
        const LENGTH: &[u8] = b"content-length:";
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse::<usize>().ok();
        let status = bytes.get(9..12).and_then(number).and_then(|status| u16::try_from(status).ok());
        let length = bytes[..end]
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.split_at_checked(LENGTH.len()).filter(|(name, _)| name.eq_ignore_ascii_case(LENGTH)))
            .and_then(|(_, value)| number(value));
        match (status, length) {
            (Some(status), Some(body_len)) => Ok(Some(Self { status, len: end + 4, body_len })),
            (Some(status @ 204), None) => Ok(Some(Self { status, len: end + 4, body_len: 0 })),
            (_, _) => Err(io::Error::new(ErrorKind::InvalidData, "the answer has no status or no length")),
        }
    }
}

/// The bytes of a request; `body` is JSON.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let content = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    format!("{method} {path} HTTP/1.1\r\nhost: pulsegate\r\n{content}\r\n{body}").into_bytes()
}

/// One question on a connection of its own: its status and its body.
pub(crate) async fn ask_once(address: SocketAddr, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let mut connection = Connection::open(address).await?;
    let answer = connection.ask(request).await?;
    Ok((answer.status, answer.body.to_vec()))
}
