//! `epnas watch`: the page of a run, served while the run goes on.

mod live;
mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use epnas_search::RunFolder;
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::{OrUsage, usage};
use crate::output::{self, word};
use live::Live;

/// Serve the page of a run, which grows as the run does.
///
/// It shows what `epnas report` shows, and new children as they come. It only reads: nothing in
/// the run folder is touched, any number of browsers may look, and it stays when the run is
/// killed, resumed or begun anew. Ctrl-C ends it.
///
/// Only this machine can reach it. From another one, by an SSH tunnel:
///
///   ssh -L 8642:localhost:8642 machine     then open http://localhost:8642/
///
/// Examples:
///   epnas watch runs/demo
///   epnas watch runs/demo --port 9000 --tensorboard logs
///   epnas watch runs/demo --host 0.0.0.0 --allow-remote
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct WatchArgs {
    /// Run folder.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Port to listen on; 0 takes any that is free.
    #[arg(short, long, value_name = "N", default_value_t = 8642)]
    port: u16,

    /// Address to listen on. One that other machines reach needs --allow-remote.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,

    /// Let anybody who reaches the address look: there is no password, and no encryption.
    #[arg(long)]
    allow_remote: bool,

    /// Write event files for TensorBoard too, as the run goes on (see `epnas report`).
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

/// What `epnas watch --json` prints when it listens.
#[derive(Debug, Serialize)]
struct Listening {
    url: String,
    run: PathBuf,
}

pub(crate) fn run(args: &WatchArgs, global: &Global) -> anyhow::Result<()> {
    if !args.host.is_loopback() && !args.allow_remote {
        return Err(usage(format_args!(
            "--host {}: other machines may reach this address, and there is no password; --allow-remote lets them",
            args.host
        )));
    }
    if RunFolder::new(&args.run).is_fleet() {
        let word = word(&args.run);
        return Err(usage(format_args!(
            "{} holds a fleet, whose searches are watched one by one: `epnas watch {word}/replica-0000`; \
             `epnas fleet status {word}` tells of all, `epnas report {word}` makes a page of all",
            args.run.display()
        )));
    }
    let live = Live::open(&args.run)?;
    if let Some(root) = &args.tensorboard {
        live.log(root, &args.run)?;
    }
    let address = SocketAddr::new(args.host, args.port);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the server")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} (--port takes another, 0 any)"))
            .or_usage()?;
        // An address that stands for all of this machine's is none to ask for.
        let mut local = listener.local_addr()?;
        let others = match local.ip().is_unspecified() {
            true => "; from other machines, ask for this one by its name or address",
            false => "",
        };
        if local.ip().is_unspecified() {
            local.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let listening = Listening {
            url: format!("http://{local}/"),
            run: args.run.clone(),
        };
        output::print_as(global.format(), &listening, |listening| {
            format!(
                "{} shows {}{others}; Ctrl-C ends it\n",
                listening.url,
                listening.run.display()
            )
        })?;
        server::serve(listener, live, args.allow_remote).await
    })
}
