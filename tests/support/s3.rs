//! A client of the S3 endpoint that does no more than it is told: requests signed with
//! SigV4, or spoilt on purpose.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ring::{digest, hmac};

const TIME_MAX: Duration = Duration::from_secs(30);
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// Who asks, and where.
#[derive(Debug, Clone)]
pub(crate) struct S3 {
    pub(crate) address: String,
    pub(crate) id: String,
    pub(crate) secret: String,
    /// How far its clock is ahead, in seconds.
    pub(crate) ahead: i64,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands between these tags, each time.
    pub(crate) fn all(&self, tag: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let found = text.split(&open).skip(1);
        found
            .filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned()))
            .collect()
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }

    /// An error of S3 with this code.
    #[track_caller]
    pub(crate) fn fails(self, status: u16, code: &str) -> Self {
        let answered = self.is(status);
        assert_eq!(answered.all("Code"), [code], "{}", answered.text());
        answered
    }
}

impl S3 {
    /// A signed GET of a path that is encoded as it has to be.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, &[])
    }

    /// A signed request without a body.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answered {
        let mut stream = self.connect();
        stream
            .write_all(self.head(method, path, headers).as_bytes())
            .unwrap();
        read_answer(&mut stream, method == "HEAD")
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(TIME_MAX)).unwrap();
        stream
    }

    /// The head of a signed request.
    pub(crate) fn head(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let date = self.date();
        let mut signed = BTreeMap::from([
            ("host".to_owned(), self.address.clone()),
            ("x-amz-content-sha256".to_owned(), UNSIGNED.to_owned()),
            ("x-amz-date".to_owned(), date.clone()),
        ]);
        for (name, value) in headers {
            signed.insert((*name).to_owned(), (*value).to_owned());
        }
        let canonical: String = signed.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let names = signed.keys().cloned().collect::<Vec<_>>().join(";");
        let request = format!(
            "{method}\n{path}\n{}\n{canonical}\n{names}\n{UNSIGNED}",
            sorted(query)
        );
        let signature = self.signature(&date, &request);
        let credential = format!("{}/{}", self.id, scope(&date));
        let lines: String = signed
            .iter()
            .map(|(n, v)| format!("{n}: {v}\r\n"))
            .collect();
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        };
        format!(
            "{method} {path}{query} HTTP/1.1\r\n{lines}authorization: AWS4-HMAC-SHA256 \
             Credential={credential}, SignedHeaders={names}, Signature={signature}\r\n\r\n"
        )
    }

    /// A presigned path for GET.
    pub(crate) fn presigned(&self, path: &str, expires: u64) -> String {
        let date = self.date();
        let credential = format!("{}/{}", self.id, scope(&date)).replace('/', "%2F");
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}\
             &X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
        );
        let request = format!(
            "GET\n{path}\n{query}\nhost:{}\n\nhost\n{UNSIGNED}",
            self.address
        );
        let signature = self.signature(&date, &request);
        format!("{path}?{query}&X-Amz-Signature={signature}")
    }

    /// What an unsigned GET gets.
    #[track_caller]
    pub(crate) fn bare(&self, path: &str) -> Answered {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        read_answer(&mut stream, false)
    }

    fn date(&self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let now = sealift_terms::Timestamp::from_secs(now + self.ahead).to_string();
        let (second, _) = now.split_once('.').unwrap();
        format!("{}Z", second.replace(['-', ':'], ""))
    }

    fn signature(&self, date: &str, request: &str) -> String {
        let hash = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
        let scope = scope(date);
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
        let mac = |key: &[u8], text: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        };
        let first = format!("AWS4{}", self.secret).into_bytes();
        let key = scope.split('/').fold(first, |key, text| mac(&key, text));
        hex(&mac(&key, &text))
    }
}

fn scope(date: &str) -> String {
    format!("{}/region-b/s3/aws4_request", &date[..8])
}

/// The query as it is signed: by name, each with a value.
fn sorted(query: &str) -> String {
    let mut pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    let pairs = pairs.iter().map(|pair| match pair.contains('=') {
        true => (*pair).to_owned(),
        false => format!("{pair}="),
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads one answer to the end that its head announces, or to that of its connection.
pub(crate) fn read_answer(stream: &mut TcpStream, is_bare: bool) -> Answered {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 1 << 20]);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut piece).unwrap() {
            0 => panic!("no answer but {:?}", String::from_utf8_lossy(&bytes)),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let lines = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> = lines
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = bytes[end..].to_vec();
    let announced = headers
        .get("content-length")
        .map(|text| text.parse::<usize>().unwrap());
    let wanted = if is_bare || status == 204 || status == 304 {
        Some(0)
    } else {
        announced
    };
    while wanted.is_none_or(|wanted| body.len() < wanted) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => body.extend_from_slice(&piece[..read]),
        }
    }
    Answered {
        status,
        headers,
        body,
    }
}
