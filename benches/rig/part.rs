//! A part of the benchmark in a process of its own: commands go in as lines of JSON, and each is
//! answered by one.

use std::process::Stdio;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{azure, floor};

/// A running part. It ends when this is dropped.
pub(crate) struct Part {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Part {
    pub(crate) fn start(name: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(format!("--part={name}")).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            commands: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Has something done.
    pub(crate) async fn tell(&mut self, command: &impl Serialize) {
        let done: Value = self.ask(command).await;
        assert!(done.is_null());
    }

    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, command: &impl Serialize) -> T {
        let line = serde_json::to_string(command).unwrap() + "\n";
        self.commands.write_all(line.as_bytes()).await.unwrap();
        let answer = self.answers.next_line().await.unwrap();
        serde_json::from_str(&answer.expect("the part has ended")).unwrap()
    }
}

/// Is the part of that name, until nobody asks any more.
pub(crate) async fn serve(name: &str) {
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let mut part: Box<dyn Answers> = match name {
        "azure" => Box::new(azure::Azure::start().await),
        "floor" => Box::new(floor::Floor::default()),
        other => panic!("there is no part {other:?}"),
    };
    while let Some(command) = commands.next_line().await.unwrap() {
        let answer = part.answer(serde_json::from_str(&command).unwrap()).await;
        println!("{answer}");
    }
}

#[async_trait::async_trait]
pub(crate) trait Answers {
    async fn answer(&mut self, command: Value) -> Value;
}
