//! nginx before the upstream, tuned: the measure of what a proxy may cost.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::http;
use crate::launch::{Launch, Program, free_address};

/// Where Debian's package puts it.
const PROGRAM: &str = "/usr/sbin/nginx";

/// Starts nginx before the upstream, with these lines about how it passes requests on; none, with a word of advice,
/// where it isn't installed.
pub(crate) async fn start(
    launch: &Launch,
    upstream: SocketAddr,
    passing: &[&str],
) -> io::Result<Option<(SocketAddr, Program)>> {
    if !Path::new(PROGRAM).exists() {
        println!("nginx is missing, so there is nothing to compare with: apt-get install nginx-light");
        return Ok(None);
    }
    let (folder, address) = (launch.folder("nginx")?, free_address()?);
    fs::write(folder.join("nginx.conf"), settings(address, upstream, passing))?;
    let prefix = folder.to_string_lossy();
    let arguments = ["-p", &prefix, "-c", "nginx.conf", "-e", "error.log"];
    let mut program = launch.start(PROGRAM, &arguments, &[], &folder)?;
    const LOOKS: usize = 100;
    for _ in 0..LOOKS {
        program.check()?;
        if http::request(address, "GET /ready", "", "").await.is_ok_and(|answer| answer.status == 200) {
            return Ok(Some((address, program)));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(io::Error::other("nginx did not become ready"))
}

fn settings(address: SocketAddr, upstream: SocketAddr, passing: &[&str]) -> String {
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders: String = folders.iter().map(|name| format!("  {name}_temp_path {name};\n")).collect();
    let passing: String = passing.iter().map(|line| format!("      {line};\n")).collect();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid nginx.pid;\nerror_log error.log;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n{folders}  access_log off;\n  tcp_nodelay on;\n  keepalive_requests 1000000000;\n\
         \x20 upstream provider {{\n    server {upstream};\n    keepalive 64;\n    keepalive_requests 1000000000;\n  }}\n\
         \x20 server {{\n    listen {address} backlog=4096;\n\
         \x20   location = /ready {{ return 200; }}\n\
         \x20   location / {{\n      proxy_pass http://provider;\n      proxy_http_version 1.1;\n{passing}    }}\n  }}\n}}\n"
    )
}
