//! A job can name any socket. What a stranger's server answers must not reach a shell, and no
//! token may reach a stranger's server.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener, process::CommandExt as _},
    process::{Command, Stdio},
};

use runner_secrets_proto::v1::{ResolveResponse, Variable, variable::Content};
use tonic::{Code, Status};

use crate::{
    job::{Job, spec, stderr, stdout},
    provider::{Provider, refusal, variable},
};

fn answering(variables: Vec<(&'static str, Variable)>) -> Provider {
    Provider::start(move |_| {
        let pairs = variables.iter().cloned();
        Ok(ResolveResponse {
            variables: pairs
                .map(|(name, given)| (name.to_owned(), given))
                .collect(),
            lease_id: "x".into(),
            ..ResolveResponse::default()
        })
    })
}

fn path(path: &str) -> Variable {
    variable(true, Content::Path(path.into()))
}

#[test]
fn an_answer_to_something_else_prints_nothing_but_the_exit() {
    let value = |file| variable(file, Content::Value(b"x".to_vec()));
    for (variables, problem) in [
        (
            vec![("A", path("/x/A")), ("LD_PRELOAD", path("/x/LD_PRELOAD"))],
            "adds LD_PRELOAD",
        ),
        (
            vec![("A", path("/x/A")), ("B\nC", path("/x/B"))],
            "adds B\\u{a}C",
        ),
        (vec![], "leaves out A"),
        (vec![("A", value(false))], "makes A a value"),
        (vec![("A", path("x/A"))], "is not plain and absolute"),
        (
            vec![("A", path("/x/../etc/A"))],
            "is not plain and absolute",
        ),
        (vec![("A", path("/x/shadow"))], "ends in another name"),
        (
            vec![("A", path("/x\nLD_PRELOAD=/x/A"))],
            "is not plain and absolute",
        ),
        (vec![("A", path("/x'$(id)/A"))], "is not plain and absolute"),
    ] {
        let provider = answering(variables);
        let job = Job::new(&provider.socket(), &spec(&["A"], true));
        let later = job.path("later");
        let job = job.with("GITLAB_ENV", later.to_str().unwrap());
        let output = job.client(&["env"]);
        assert_eq!(stdout(&output), "(exit 70)\n", "{problem}");
        assert_eq!(output.status.code(), Some(70), "{problem}");
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
        assert!(!later.exists(), "{problem}");
    }
}

#[test]
fn warnings_and_errors_cannot_steer_the_log() {
    let provider = answering(vec![(
        "A",
        Variable {
            warnings: vec!["\u{1b}[2Kall is well\nreally".into()],
            ..path("/x/A")
        },
    )]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["env"]);
    assert!(
        stderr(&output).ends_with("runner-secrets: A: \\u{1b}[2Kall is well\\u{a}really\n"),
        "{}",
        stderr(&output)
    );

    let provider = Provider::start(|_| Err(Status::new(Code::Internal, "\u{1b}[2K\nboo")));
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["env"]);
    assert_eq!(
        stderr(&output),
        "runner-secrets: \\u{1b}[2K\\u{a}boo (gRPC status 13)\n"
    );
}

#[test]
fn a_reason_of_a_newer_daemon_goes_by_its_code() {
    let provider = Provider::start(|_| Err(refusal("MOON_PHASE", Code::Unavailable)));
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["env"]);
    assert_eq!(
        stderr(&output),
        "runner-secrets: the rule says no (MOON_PHASE, request 7f3a-test)\n"
    );
    assert_eq!(output.status.code(), Some(75));
}

const NOBODY: u32 = 65534;

const LISTEN: &str = "RUNNER_SECRETS_TEST_LISTEN";

/// Not a test by itself: the stranger of the next one, in a process of another user.
#[test]
#[ignore = "the test below runs it"]
fn stranger() {
    let Some(socket) = env::var_os(LISTEN) else {
        return;
    };
    let listener = UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    println!("listening");
    let mut got = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
    println!("got {} bytes", got.len());
}

#[test]
fn a_stranger_at_the_socket_gets_nothing() {
    if !rustix::process::geteuid().is_root() {
        assert!(
            env::var_os("CI").is_none(),
            "needs root to become somebody else"
        );
        println!("skipped: needs root to become somebody else");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let socket = place.path().join("api.sock");
    let mut stranger = Command::new("/proc/self/exe")
        .args(["--exact", "hostile::stranger", "--ignored", "--nocapture"])
        .env(LISTEN, &socket)
        .uid(NOBODY)
        .gid(NOBODY)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(stranger.stdout.take().unwrap()).lines();
    let mut line = |ending: &str| {
        let found = lines.find(|line| line.as_ref().is_ok_and(|line| line.ends_with(ending)));
        found.unwrap().unwrap()
    };
    line("listening");
    let output = Job::new(&socket, &spec(&["A"], true)).client(&["env"]);
    assert_eq!(output.status.code(), Some(77));
    assert_eq!(stdout(&output), "(exit 77)\n");
    let expected = format!(
        "runner-secrets: the socket {} belongs to uid {NOBODY}, which is neither root nor the \
         owner of this program: nothing was sent to it (CALLER_DENIED)
  refused by  runner-secrets itself; nothing was sent
  to fix      correct RUNNER_SECRETS_SOCKET; have the operator run the daemon as root or as the owner \
         of the client's file
  see         docs/troubleshooting.md#caller-denied
",
        socket.display()
    );
    assert_eq!(stderr(&output), expected);
    assert!(line("bytes").ends_with("got 0 bytes"));
    stranger.wait().unwrap();
    std::io::stdout().flush().unwrap();
}
