//! The client's program: hands the process's arguments, environment and streams to the library.
//! It trusts root and the owner of its own file to serve the socket.

use std::{
    env, fs,
    io::{self, IsTerminal as _},
    os::unix::fs::MetadataExt as _,
    process::ExitCode,
};

use runner_secrets::{
    client::{self, Environment, Output},
    dump,
};

fn main() -> ExitCode {
    // It cannot fail on any kernel that runs this; where it did, the job would go on as safely as
    // its own processes do.
    drop(dump::forbid());
    let environment: Environment = env::vars_os().collect();
    let owner = fs::metadata("/proc/self/exe").map(|program| program.uid());
    let trusted: Vec<u32> = owner.into_iter().collect();
    let output = Output {
        terminal: io::stdout().is_terminal(),
        stdout: &mut io::stdout().lock(),
        stderr: &mut io::stderr().lock(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let arguments = env::args_os().skip(1);
            ExitCode::from(runtime.block_on(client::run(arguments, &environment, &trusted, output)))
        }
        Err(_) => ExitCode::from(runner_secrets_proto::Reason::Bug.exit()),
    }
}
