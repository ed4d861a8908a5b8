//! The addresses of the live page. All of them only read.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Query, Request, State as Of};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch::Receiver;

use super::live::{Live, State};

/// Children told in one event at most.
const TOGETHER: usize = 200;

/// Serves the page until the process ends.
pub(super) async fn serve(
    listener: TcpListener,
    live: Arc<Live>,
    is_remote_allowed: bool,
) -> anyhow::Result<()> {
    let mut router = Router::new()
        .route("/", get(whole))
        .route("/sections", get(sections))
        .route("/drawing", get(drawing))
        .route("/events", get(events));
    if !is_remote_allowed {
        router = router.layer(middleware::from_fn(require_local));
    }
    axum::serve(listener, router.with_state(live))
        .await
        .context("the server failed")
}

/// Refuses what a browser asks for under another name than this machine's: a page elsewhere could have its name lead here.
async fn require_local(request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    if hosts.next().is_none() && host.is_some_and(is_local) {
        return next.run(request).await;
    }
    (
        StatusCode::FORBIDDEN,
        "only for this machine: ask for localhost\n",
    )
        .into_response()
}

/// Whether a host, with or without a port, is this machine by a name that cannot be led elsewhere.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Always asked for anew.
const NOT_KEPT: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

async fn whole(Of(live): Of<Arc<Live>>) -> Result<impl IntoResponse, StatusCode> {
    let page = live
        .whole()
        .await
        .ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((NOT_KEPT, Html(page)))
}

async fn sections(Of(live): Of<Arc<Live>>) -> Result<impl IntoResponse, StatusCode> {
    let html = live
        .sections()
        .await
        .ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((NOT_KEPT, Html(html)))
}

#[derive(Debug, Deserialize)]
struct Child {
    child: String,
}

async fn drawing(
    Of(live): Of<Arc<Live>>,
    Query(Child { child }): Query<Child>,
) -> Result<Response, StatusCode> {
    let drawing = tokio::task::spawn_blocking(move || live.drawing(&child)).await;
    Ok(
        match drawing.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)? {
            Some(svg) => ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response(),
            None => (StatusCode::NOT_FOUND, "there is nothing to draw").into_response(),
        },
    )
}

/// Where a client is: what it was sent up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    beginnings: u64,
    rows: usize,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let (beginnings, rows) = text.split_once('.')?;
        Some(Self {
            beginnings: beginnings.parse().ok()?,
            rows: rows.parse().ok()?,
        })
    }
}

#[derive(Debug, Deserialize)]
struct Since {
    state: String,
}

/// New children as they come. A browser that lost the connection says by itself what it saw last.
async fn events(
    Of(live): Of<Arc<Live>>,
    Query(since): Query<Since>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, (StatusCode, String)> {
    let last = headers.get("last-event-id");
    let last = last
        .and_then(|last| last.to_str().ok())
        .unwrap_or(&since.state);
    let Some(cursor) = Cursor::parse(last) else {
        let problem = format!("state `{last}`: expected BEGINNINGS.CHILDREN, such as 0.12\n");
        return Err((StatusCode::BAD_REQUEST, problem));
    };
    let mut changes = live.changes();
    // What came before the connection is looked at first.
    changes.mark_changed();
    let client = Client {
        live,
        changes,
        cursor,
        told: None,
    };
    let events = stream::unfold(client, |mut client| async move {
        let event = client.next().await?;
        Some((Ok(event), client))
    });
    let alive = KeepAlive::new().interval(Duration::from_secs(10));
    Ok(Sse::new(events).keep_alive(alive))
}

/// One browser that listens. It holds no rows of its own, so that one that reads slowly costs no memory.
struct Client {
    live: Arc<Live>,
    changes: Receiver<State>,
    cursor: Cursor,
    /// The change that it was told of last.
    told: Option<u64>,
}

impl Client {
    /// The next event; `None` when there will be no more.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let (state, rows) = self.live.rows(self.cursor.rows, TOGETHER);
            if state.beginnings != self.cursor.beginnings || state.rows < self.cursor.rows {
                self.cursor = Cursor {
                    beginnings: state.beginnings,
                    rows: state.rows,
                };
                return Some(self.event("reset", "{}".to_owned()));
            }
            if !rows.is_empty() {
                self.cursor.rows += rows.len();
                return Some(self.event("children", format!("[{}]", rows.join(","))));
            }
            if self.told != Some(state.changes) {
                self.told = Some(state.changes);
                return Some(self.event("changed", "{}".to_owned()));
            }
            self.changes.changed().await.ok()?;
        }
    }

    fn event(&self, name: &str, data: String) -> Event {
        let Cursor { beginnings, rows } = self.cursor;
        Event::default()
            .event(name)
            .id(format!("{beginnings}.{rows}"))
            .data(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stay_here_are_local() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8642",
            "127.1.2.3",
            "[::1]:8642",
            "[::1]",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.evil.example",
            "127.0.0.1.evil.example:80",
            "127.",
            "10.0.0.1",
            "localhost.evil",
            "[::2]:1",
            "a b",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn cursors_are_two_numbers() {
        let found = Cursor::parse("2.17");
        assert_eq!(
            found,
            Some(Cursor {
                beginnings: 2,
                rows: 17
            })
        );
        for wrong in ["", "2", "a.1", "1.-1", "1.2.3"] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong}");
        }
    }
}
