//! A server that answers what a test tells it to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a client asked, its headers in small letters.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
}

/// What it is told; the length of the body is among the headers unless one is given there.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Server {
    /// `http://…` without a slash at the end.
    pub(super) url: String,
    heard: Arc<Mutex<Vec<Request>>>,
}

impl Request {
    /// Where the range begins that is asked for.
    pub(super) fn from(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

impl Answer {
    pub(super) fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

impl Server {
    /// Runs until the tests are over.
    pub(super) fn start(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &answer, &log); // a client may go away
            }
        });
        Self { url, heard }
    }

    /// What it was asked until now.
    pub(super) fn heard(&self) -> Vec<Request> {
        self.heard.lock().expect("no thread panicked").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: impl Fn(&Request) -> Answer,
    log: &Mutex<Vec<Request>>,
) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let request = Request { method, path, headers };
    let Answer { status, mut headers, body } = answer(&request);
    let is_head = request.method == "HEAD";
    log.lock().expect("no thread panicked").push(request);
    if !headers.iter().any(|(name, _)| ["Content-Length", "Transfer-Encoding"].contains(name)) {
        headers.push(("Content-Length", body.len().to_string()));
    }
    write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\n")?;
    headers.iter().try_for_each(|(name, value)| write!(stream, "{name}: {value}\r\n"))?;
    stream.write_all(b"\r\n")?;
    if is_head { Ok(()) } else { stream.write_all(&body) }
}
