//! Asks a process on this machine whether it lives: what a container without a shell has for a health check.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long connecting, asking and answering may take, each.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Asks `/livez` on the admin port; the error says why the process doesn't live, as far as one can tell.
///
/// Not `/readyz`: a process that waits for Kafka shall wait, not be killed.
pub fn check(admin_listen: SocketAddr) -> io::Result<()> {
    let address = reachable(admin_listen);
    let mut connection = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    connection.set_write_timeout(Some(ANSWER_MAX))?;
    write!(connection, "GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    connection.read_exact(&mut status)?;
    if &status == b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(io::Error::other(format!("{address} answers {:?}", String::from_utf8_lossy(&status))))
}

/// One can listen on every address; to connect, one is needed.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    fn answered(answer: &'static [u8]) -> io::Result<()> {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            // All of it: closing a connection with bytes unread resets it, and the answer may be lost with it.
            let asked = BufReader::new(&connection).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            assert_eq!(asked.collect::<Vec<_>>()[0], "GET /livez HTTP/1.1");
            connection.write_all(answer).unwrap();
        });
        let checked = check(address);
        server.join().unwrap();
        checked
    }

    #[test]
    fn it_lives_if_it_says_so() {
        answered(b"HTTP/1.1 200 OK\r\n\r\nok\n").unwrap();
        let refused = answered(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().to_string();
        assert!(refused.ends_with("answers \"HTTP/1.1 503\""), "{refused}");
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(check(gone).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
