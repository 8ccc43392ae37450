//! Lets connections to `PostgreSQL` send small writes at once.
//!
//! sqlx leaves Nagle's algorithm on. A COPY ends with a small write behind another, which the kernel then holds back
//! until the server has acknowledged the first, and the server acknowledges late because it has nothing to say:
//! measured, 44 ms for a COPY of 5 kB that takes 0.1 ms. sqlx hands out neither the socket nor an option, so the
//! process looks for its own sockets to that port. Where that is not possible, commits are slower and nothing else.

use std::io;

/// Sets `TCP_NODELAY` on each of this process's connections to `port`, of whatever host.
#[cfg(target_os = "linux")]
pub(crate) fn send_at_once(port: u16) -> io::Result<()> {
    use std::os::fd::RawFd;

    use rustix::net::{getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if !is_socket {
            continue;
        }
        // A second descriptor of the same socket; the first may be closed at any moment, which is then no matter.
        let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
        let Ok(Some(peer)) = getpeername(&socket) else { continue };
        if std::net::SocketAddr::try_from(peer).is_ok_and(|peer| peer.port() == port) {
            sockopt::set_tcp_nodelay(&socket, true)?;
        }
    }
    Ok(())
}

/// Elsewhere there is no way to find them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send_at_once(_: u16) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_that_port_and_no_others_send_at_once() {
        let [one, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let to = |listener: &TcpListener| TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (wanted, unwanted) = (to(&one), to(&other));
        send_at_once(one.local_addr().unwrap().port()).unwrap();
        assert!(wanted.nodelay().unwrap());
        assert!(!unwanted.nodelay().unwrap());
    }
}
