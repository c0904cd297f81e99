//! The baselines: plain sockets and plain files, in a process on the broker's core.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{BROKER_CORE, MIB, Result};

fn role(name: &str) -> Result<Command> {
    let mut command = Command::new("taskset");
    command.args(["-c", BROKER_CORE]).arg(std::env::current_exe()?).arg(format!("--role={name}"));
    Ok(command)
}

/// Does a file's baseline on the broker's core; says how long it took there.
pub(crate) fn on_broker_core(arguments: &[&str]) -> Result<Duration> {
    let output = role(arguments[0])?.args(&arguments[1..]).stderr(Stdio::inherit()).output()?;
    let seconds: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(Duration::from_secs_f64(seconds))
}

/// What a child of this bench does instead of the bench.
#[allow(clippy::print_stdout, reason = "how it tells its parent")]
pub(crate) fn run_role(role: &str, arguments: &[String]) -> Result<()> {
    match (role, arguments) {
        ("socket", []) => serve_socket(),
        ("write", [path, bytes]) => {
            println!("{}", write_file(path, bytes.parse()?)?.as_secs_f64());
            Ok(())
        }
        ("sync", [path, bytes, count]) => {
            println!("{}", sync_file(path, bytes.parse()?, count.parse()?)?.as_secs_f64());
            Ok(())
        }
        _ => Err(format!("no role {role} with {} arguments", arguments.len()).into()),
    }
}

/// Bytes into the page cache, a mebibyte a call.
fn write_file(path: &str, bytes: usize) -> Result<Duration> {
    let chunk = vec![b'x'; MIB];
    let file = File::create(path)?;
    let begun = Instant::now();
    for number in 0..bytes / MIB {
        file.write_all_at(&chunk, (number * MIB) as u64)?;
    }
    let took = begun.elapsed();
    fs::remove_file(path)?;
    Ok(took)
}

/// Appends, each of them on the disk before the next begins.
fn sync_file(path: &str, bytes: usize, count: usize) -> Result<Duration> {
    let chunk = vec![b'x'; bytes];
    let file = File::create(path)?;
    file.sync_all()?;
    let begun = Instant::now();
    for number in 0..count {
        file.write_all_at(&chunk, (number * bytes) as u64)?;
        file.sync_data()?;
    }
    let took = begun.elapsed();
    fs::remove_file(path)?;
    Ok(took)
}

/// The other end of a socket, on the broker's core.
pub(crate) struct FarEnd {
    child: Child,
    address: String,
}

impl FarEnd {
    pub(crate) fn start() -> Result<Self> {
        let mut child = role("socket")?.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no standard output")?).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().to_owned() })
    }

    /// How long `bytes` take to the far end, until it says that it has them.
    pub(crate) fn send(&self, bytes: usize) -> Result<Duration> {
        let mut stream = self.connect(Direction::ToFarEnd, bytes)?;
        let begun = Instant::now();
        write_bytes(&mut stream, bytes)?;
        stream.read_exact(&mut [0])?;
        Ok(begun.elapsed())
    }

    /// How long `bytes` take from the far end.
    pub(crate) fn receive(&self, bytes: usize) -> Result<Duration> {
        let begun = Instant::now();
        let mut stream = self.connect(Direction::FromFarEnd, bytes)?;
        read_bytes(&mut stream, bytes)?;
        Ok(begun.elapsed())
    }

    fn connect(&self, direction: Direction, bytes: usize) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.write_all(&[direction as u8])?;
        stream.write_all(&bytes.to_be_bytes())?;
        Ok(stream)
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy)]
enum Direction {
    ToFarEnd = 1,
    FromFarEnd = 2,
}

#[allow(clippy::print_stdout, reason = "how it tells its parent")]
fn serve_socket() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        let (mut direction, mut bytes) = ([0], [0; 8]);
        stream.read_exact(&mut direction)?;
        stream.read_exact(&mut bytes)?;
        let bytes = usize::from_be_bytes(bytes);
        if direction[0] == Direction::ToFarEnd as u8 {
            read_bytes(&mut stream, bytes)?;
            stream.write_all(&[1])?;
        } else {
            write_bytes(&mut stream, bytes)?;
        }
    }
    Ok(())
}

fn write_bytes(stream: &mut TcpStream, bytes: usize) -> Result<()> {
    let chunk = vec![b'x'; MIB];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(MIB);
        stream.write_all(&chunk[..now])?;
        left -= now;
    }
    Ok(())
}

fn read_bytes(stream: &mut TcpStream, bytes: usize) -> Result<()> {
    let mut chunk = vec![0; MIB];
    let mut left = bytes;
    while left > 0 {
        match stream.read(&mut chunk)? {
            0 => return Err("the socket ended early".into()),
            read => left -= read.min(left),
        }
    }
    Ok(())
}
