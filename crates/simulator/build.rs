//! Makes Rust code of the Pub/Sub API's contract: the server for the library, the client for its tests.

use std::error::Error;
use std::path::Path;

const CONTRACT: &str = "proto/pubsub_api.proto";

#[expect(clippy::disallowed_methods, reason = "cargo hands the folder to a build script in this way only")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={CONTRACT}");
    let out = std::env::var("OUT_DIR")?;
    let contract = protox::compile([CONTRACT], ["proto"])?;
    for (side, server) in [("server", true), ("client", false)] {
        let folder = Path::new(&out).join(side);
        std::fs::create_dir_all(&folder)?;
        tonic_prost_build::configure()
            .build_server(server)
            .build_client(!server)
            .out_dir(folder)
            .compile_fds(contract.clone())?;
    }
    Ok(())
}
