//! Receives OpenTelemetry spans (OTLP over gRPC) and keeps them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A span, as far as tests care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process that made it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// The trace it belongs to, in hex.
    pub trace: String,
    /// Its own id, in hex.
    pub id: String,
    /// The id of the span around it; empty for the first of a trace.
    pub parent: String,
}

/// A collector on a port of its own.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    task: JoinHandle<()>,
}

impl Collector {
    /// Listens.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind a collector")?;
        let address = listener.local_addr()?;
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        #[allow(clippy::disallowed_methods, reason = "a test's own task, ended in `drop`")]
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, Arc::clone(&kept)));
            }
        });
        Ok(Self { address, spans, task })
    }

    /// What a service is told as `--otlp-endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, spans: Arc<Mutex<Vec<Span>>>) -> Result<()> {
    let mut connection = h2::server::handshake(client).await.context("begin HTTP/2")?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let mut body = request.into_body();
        let mut bytes = Vec::new();
        let received = async {
            while let Some(chunk) = body.data().await {
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                bytes.extend_from_slice(&chunk);
            }
            Ok::<_, anyhow::Error>(())
        };
        // The connection's own work is done by whoever polls it.
        tokio::select! {
            done = received => done?,
            more = std::future::poll_fn(|context| connection.poll_closed(context)) => {
                more?;
                bail!("the client went in the middle of a request");
            }
        }
        // One message: a flag, its length, and the message.
        let found = read(bytes.get(5..).unwrap_or_default())?;
        spans.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        let answer = http::Response::builder().header("content-type", "application/grpc").body(())?;
        let mut stream = respond.send_response(answer, false)?;
        stream.send_data(Bytes::from_static(&[0; 5]), false)?;
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

/// The spans of an `ExportTraceServiceRequest`.
fn read(request: &[u8]) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for resource_spans in messages(request, 1)? {
        let mut service = String::new();
        for resource in messages(resource_spans, 1)? {
            for attribute in messages(resource, 1)? {
                if messages(attribute, 1)?.first() == Some(&b"service.name".as_slice()) {
                    let value = messages(attribute, 2)?.first().copied().unwrap_or_default();
                    service = text(messages(value, 1)?.first());
                }
            }
        }
        for scope_spans in messages(resource_spans, 2)? {
            for span in messages(scope_spans, 2)? {
                let hex = |field| -> Result<String> {
                    let bytes = messages(span, field)?.first().copied().unwrap_or_default();
                    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
                };
                let (trace, id, parent) = (hex(1)?, hex(2)?, hex(4)?);
                spans.push(Span {
                    service: service.clone(),
                    name: text(messages(span, 5)?.first()),
                    trace,
                    id,
                    parent,
                });
            }
        }
    }
    Ok(spans)
}

fn text(bytes: Option<&&[u8]>) -> String {
    String::from_utf8_lossy(bytes.copied().unwrap_or_default()).into_owned()
}

/// All values of a field that has a length: texts, bytes, messages.
fn messages(message: &[u8], field: u64) -> Result<Vec<&[u8]>> {
    let (mut found, mut rest) = (Vec::new(), message);
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let length = match key & 7 {
            0 => {
                varint(&mut rest)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?)?,
            5 => 4,
            other => bail!("wire type {other} of protobuf"),
        };
        let (value, behind) = rest.split_at_checked(length).context("a field of protobuf that is cut off")?;
        rest = behind;
        if key >> 3 == field && key & 7 == 2 {
            found.push(value);
        }
    }
    Ok(found)
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().context("a number of protobuf that is cut off")?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number of protobuf that does not end")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(value.len()).unwrap()];
        out.extend_from_slice(value);
        out
    }

    #[test]
    fn spans_are_found_in_a_request() {
        let name = [field(1, b"service.name"), field(2, &field(1, b"lutra-loader"))].concat();
        let resource = field(1, &field(1, &name));
        let span =
            [field(1, &[0xab; 16]), field(2, &[1; 8]), vec![6 << 3, 1], field(4, &[2; 8]), field(5, b"load")].concat();
        let request = field(1, &[resource, field(2, &field(2, &span))].concat());
        let found = read(&request).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].service.as_str(), found[0].name.as_str()), ("lutra-loader", "load"));
        assert_eq!((found[0].trace.len(), found[0].parent.as_str()), (32, "0202020202020202"));
    }
}
