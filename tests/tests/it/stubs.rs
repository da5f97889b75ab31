//! Clients of our own in other languages, generated from `proto/` as `make clients` does it, and the commands of `docs/grpc.md`.

#![expect(clippy::print_stdout, reason = "a skip is told")]

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use signalbox_tests::sandbox::{Sandbox, Topology};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{PROMPT, cache_folder, finish};

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_streams_answers() {
    let Some(made) = Made::of("python").await else { return };
    let sandbox = Sandbox::start(Topology::SixProcesses).await;
    for cache in ["miss", "exact"] {
        sandbox.kept().await;
        let told =
            made.run("python3", &["tests/python/client.py", "--model", "sim-echo", PROMPT], &sandbox).await;
        let answer: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
        assert_eq!(answer["error"], "", "{answer}");
        assert_eq!(answer["text"], PROMPT);
        assert_eq!(answer["cache"], cache);
        assert_eq!(answer["model"], "sim/sim-echo");
        assert_eq!(answer["sequence_ok"], true);
        assert_eq!(answer["cost_nanousd"].as_i64().unwrap() == 0, cache == "exact", "{answer}");
    }
    finish(sandbox, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_python_streams_an_answer() {
    let Some(made) = Made::of("python").await else { return };
    let sandbox = Sandbox::start(Topology::OneProcess).await;
    let told = made.run("python3", &["clients/python/examples/ask.py", PROMPT], &sandbox).await;
    assert!(told.contains(PROMPT) && told.contains("sim/sim-echo: "), "{told}");
    finish(sandbox, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_for_typescript_compiles_and_streams_an_answer() {
    let Some(made) = Made::of("typescript").await else { return };
    let sandbox = Sandbox::start(Topology::OneProcess).await;
    let project = "clients/typescript";
    made.run("node", &["clients/typescript/node_modules/typescript/bin/tsc", "-p", project], &sandbox).await;
    let told = made.run("node", &["clients/typescript/dist/examples/ask.js", PROMPT], &sandbox).await;
    assert!(told.contains(PROMPT) && told.contains("sim/sim-echo: "), "{told}");
    finish(sandbox, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buf_curl_as_documented() {
    if cache_folder().join("bin/buf").exists() {
        documented("buf curl").await;
    } else {
        println!(
            "SKIPPED: buf curl: {} is missing; run `make setup`",
            cache_folder().join("bin/buf").display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_as_documented() {
    if cache_folder().join("grpcurl/grpcurl").exists() {
        documented("grpcurl").await;
    } else {
        println!("SKIPPED: grpcurl: it is not there; run `make setup`");
    }
}

/// Runs each command of the documentation that begins so.
async fn documented(program: &str) {
    let root = root();
    let text = std::fs::read_to_string(root.join("docs/grpc.md")).unwrap();
    let text = text.replace("\\\n", " ");
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with(program)).collect();
    assert!(commands.len() > 1, "{commands:?}");
    let sandbox = Sandbox::start(Topology::OneProcess).await;
    let (address, mut asked) = (sandbox.address.to_string(), 0);
    for line in commands {
        let line = line.replace("127.0.0.1:8080", &address).replace("sim-small", "sim-echo");
        let mut command = Command::new("bash");
        command.args(["-c", &line]).current_dir(&root).env("PATH", path()).kill_on_drop(true);
        let ended = command.output().await.unwrap();
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{line}\n{told}{}", String::from_utf8_lossy(&ended.stderr));
        if line.contains("GatewayService/") {
            asked += 1;
            assert!(told.contains("finished"), "{line}\n{told}");
        }
    }
    finish(sandbox, asked).await;
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where buf, Python and Node are found first.
fn path() -> OsString {
    let cache = cache_folder();
    let own = ["bin", "venv/bin", "clients/node", "grpcurl"].map(|folder| cache.join(folder));
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&others))).unwrap()
}

/// A copy of what the clients are made of, with the stubs of one language.
struct Made {
    folder: TempDir,
}

impl Made {
    /// Generates the stubs of a language; `None`, and told so, where a tool is missing.
    async fn of(language: &str) -> Option<Self> {
        let cache = cache_folder();
        let packages = cache.join("clients/typescript");
        for needed in [&cache.join("bin/buf"), &cache.join("venv/bin/python3"), &packages.join("node")] {
            if !needed.exists() {
                println!("SKIPPED: {language} client: {} is missing; run `make setup`", needed.display());
                return None;
            }
        }
        let (root, folder) = (root(), tempfile::tempdir().unwrap());
        let own = folder.path();
        for part in ["proto", "buf.yaml", "tests"] {
            std::os::unix::fs::symlink(root.join(part), own.join(part)).unwrap();
        }
        // Of this language's plugins alone.
        let template = std::fs::read_to_string(root.join("buf.gen.yaml")).unwrap();
        let (head, plugins) = template.split_once("plugins:\n").unwrap();
        let wanted: String = plugins
            .split_inclusive('\n')
            .fold(Vec::new(), |mut plugins: Vec<String>, line| {
                match plugins.last_mut() {
                    Some(plugin) if !line.starts_with("  - ") => plugin.push_str(line),
                    _ => plugins.push(line.to_owned()),
                }
                plugins
            })
            .into_iter()
            .filter(|plugin| plugin.contains(&format!("out: clients/{language}")))
            .collect();
        std::fs::write(own.join("buf.gen.yaml"), format!("{head}plugins:\n{wanted}")).unwrap();
        for file in [
            "python/grpc_plugin.py",
            "python/signalbox/__init__.py",
            "python/examples/ask.py",
            "typescript/package.json",
            "typescript/tsconfig.json",
            "typescript/src/index.ts",
            "typescript/examples/ask.ts",
        ] {
            let to = own.join("clients").join(file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(root.join("clients").join(file), to).unwrap();
        }
        let modules = own.join("clients/typescript/node_modules");
        std::os::unix::fs::symlink(packages.join("node_modules"), modules).unwrap();
        let made = Self { folder };
        made.finished(made.command("buf", &["generate"])).await;
        Some(made)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        // A child is looked for in this process' path, not in its own.
        let found =
            std::env::split_paths(&path()).map(|folder| folder.join(program)).find(|file| file.exists());
        let mut command = Command::new(found.unwrap());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", path())
            .env("PYTHONPATH", self.folder.path().join("clients/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .kill_on_drop(true);
        for variable in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a program against a mesh; what it printed.
    async fn run(&self, program: &str, arguments: &[&str], mesh: &Sandbox) -> String {
        let mut command = self.command(program, arguments);
        let server = match program {
            "node" => format!("http://{}", mesh.address),
            _ => mesh.address.to_string(),
        };
        command
            .env("SIGNALBOX_SERVER", server)
            .env("SIGNALBOX_MODEL", "sim-echo")
            .env_remove("SIGNALBOX_KEY");
        self.finished(command).await
    }

    async fn finished(&self, mut command: Command) -> String {
        let ended = command.output().await.unwrap();
        let told = String::from_utf8_lossy(&ended.stdout).into_owned();
        let failed = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{command:?}\n{told}{failed}");
        told
    }
}
