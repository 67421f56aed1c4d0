//! The hub against a server in the same process: files, folders, refusals.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Result;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::server::{Answer, Request, Server};
use super::*;
use crate::pretrained::hexadecimal;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILE: &str = "model.safetensors";

fn contents() -> Vec<u8> {
    (0..600_000u32).map(|i| (i % 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// What the hub sends before a large file.
fn found(body: &[u8]) -> Answer {
    Answer::new(302, b"")
        .with("X-Repo-Commit", COMMIT)
        .with("ETag", "\"of the redirection\"")
        .with("X-Linked-Etag", format!("\"{}\"", sha256(body)))
        .with("X-Linked-Size", body.len())
        .with("Location", "http://127.0.0.1:9/elsewhere")
}

/// As a server of files does, ranges and all.
fn part(request: &Request, body: &[u8]) -> Answer {
    match request.from() {
        None => Answer::new(200, body),
        Some(from) if from >= body.len() => Answer::new(416, b""),
        Some(from) => Answer::new(206, &body[from..])
            .with("Content-Range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())),
    }
}

fn hub(server: &Server, folder: &TempDir) -> Hub {
    Hub {
        endpoint: server.url.clone(),
        token: Some("secret".to_owned()),
        repositories: folder.path().join("hub"),
        checkpoints: folder.path().join("checkpoints"),
        access: Access::Online,
    }
}

fn from_repository(hub: &Hub) -> Result<PathBuf> {
    hub.repository_file("owner/name", FILE, &mut |_| ())
}

fn refused(hub: &Hub) -> String {
    from_repository(hub).expect_err("refused").to_string()
}

/// Files below `path`, sorted.
fn files(path: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                file => files.push(file.strip_prefix(path).expect("below").display().to_string()),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_repositorys_file_is_fetched_once_into_the_python_clients_folders() -> Result<()> {
    let server = Server::start(|request| match (request.method.as_str(), request.path.as_str()) {
        ("HEAD", "/old/name/resolve/main/model.safetensors") => {
            Answer::new(307, b"").with("Location", "/owner/name/resolve/main/model.safetensors")
        }
        ("HEAD", _) => found(&contents()),
        ("GET", "/owner/name/resolve/main/model.safetensors") => {
            Answer::new(302, b"").with("Location", "/storage")
        }
        _ => part(request, &contents()),
    });
    let folder = tempfile::tempdir()?;
    let hub = hub(&server, &folder);
    let mut last = Progress { done: 0, total: None };
    let path = hub.repository_file("old/name", FILE, &mut |progress| last = progress)?;
    assert_eq!(last, Progress { done: 600_000, total: Some(600_000) });
    assert_eq!(std::fs::read(&path)?, contents());
    let blob = format!("models--old--name/blobs/{}", sha256(&contents()));
    let snapshot = format!("models--old--name/snapshots/{COMMIT}/{FILE}");
    assert_eq!(files(&hub.repositories), [blob.as_str(), "models--old--name/refs/main", snapshot.as_str()]);
    assert_eq!(path, hub.repositories.join(snapshot));
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(&path)?, Path::new("../../blobs").join(sha256(&contents())));

    let heard = server.heard();
    let shown: Vec<bool> =
        heard.iter().map(|request| request.headers.contains_key("authorization")).collect();
    assert_eq!(shown, [true, true, true, false], "{heard:?}");
    assert_eq!(heard[0].headers["authorization"], "Bearer secret");
    assert_eq!(hub.repository_file("old/name", FILE, &mut |_| ())?, path);
    let offline = Hub { access: Access::Offline, ..hub };
    assert_eq!(offline.repository_file("old/name", FILE, &mut |_| ())?, path);
    assert_eq!(server.heard().len(), heard.len());
    let error = refused(&offline);
    assert!(error.contains("models--owner--name") && error.contains("HF_HUB_OFFLINE"), "{error}");
    Ok(())
}

#[test]
fn a_row_is_fetched_from_its_repository() -> Result<()> {
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => found(&contents()),
        _ => part(request, &contents()),
    });
    let folder = tempfile::tempdir()?;
    let row = Pretrained::find("deit_tiny_distilled_patch16_224.fb_in1k").expect("a row");
    let path = row.fetch(&hub(&server, &folder), |_| ())?;
    let repository = "models--timm--deit_tiny_distilled_patch16_224.fb_in1k";
    assert!(path.starts_with(folder.path().join("hub").join(repository)), "{}", path.display());
    let tflite = Pretrained::find("mobilenet_v2_imagenet_dequantized").expect("a row");
    let error = tflite.fetch(&hub(&server, &folder), |_| ()).expect_err("no format of ours").to_string();
    assert!(error.contains("has to be converted"), "{error}");
    Ok(())
}

#[test]
fn what_is_cut_is_gone_on_with_and_never_taken_for_the_whole() -> Result<()> {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let answer = part(request, &contents());
        match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Answer { body: contents()[..100_000].to_vec(), ..answer.with("Content-Length", 600_000) },
            _ => answer,
        }
    });
    let folder = tempfile::tempdir()?;
    let hub = hub(&server, &folder);
    let digest = sha256(&contents());
    let url = format!("{}/a.pth", server.url);
    let mut heard = Vec::new();
    let mut fetch = || hub.checkpoint(&url, "a.pth", &digest[..8], &mut |progress| heard.push(progress));
    let error = fetch().expect_err("cut").to_string();
    assert!(error.contains("cut after 100000 of 600000 bytes") && error.contains("another try"), "{error}");
    assert_eq!(files(&hub.checkpoints), ["a.pth.incomplete"]);
    assert_eq!(std::fs::read(fetch()?)?, contents());
    assert_eq!(files(&hub.checkpoints), ["a.pth"]);
    assert!(heard.contains(&Progress { done: 100_000, total: Some(600_000) }), "{heard:?}");
    assert_eq!(server.heard()[1].from(), Some(100_000));
    Ok(())
}

#[test]
fn what_cannot_be_gone_on_with_is_begun_anew() -> Result<()> {
    let whole = Server::start(|_| Answer::new(200, &contents()));
    let ranges = Server::start(|request| part(request, &contents()));
    for (server, left) in [(&whole, 10), (&ranges, 700_000)] {
        let folder = tempfile::tempdir()?;
        let hub = hub(server, &folder);
        std::fs::create_dir(&hub.checkpoints)?;
        std::fs::write(hub.checkpoints.join("a.pth.incomplete"), vec![7; left])?;
        let url = format!("{}/a.pth", server.url);
        let path = hub.checkpoint(&url, "a.pth", &sha256(&contents())[..8], &mut |_| ())?;
        assert_eq!(std::fs::read(path)?, contents());
    }
    Ok(())
}

#[test]
fn another_file_than_was_published_is_deleted() -> Result<()> {
    let mut wrong = contents();
    wrong[5] ^= 1;
    let body = wrong.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "HEAD" => found(&contents()),
        _ => part(request, &body),
    });
    let folder = tempfile::tempdir()?;
    let hub = hub(&server, &folder);
    let error = refused(&hub);
    for text in [sha256(&wrong), sha256(&contents())] {
        assert!(error.contains("not the file that was published") && error.contains(&text), "{error}");
    }
    let url = format!("{}/a.pth", server.url);
    let error = hub.checkpoint(&url, "a.pth", "abcdef12", &mut |_| ()).expect_err("wrong").to_string();
    assert!(error.contains("must begin with abcdef12"), "{error}");
    assert_eq!((files(&hub.repositories), files(&hub.checkpoints)), (vec![], vec![]));
    Ok(())
}

#[test]
fn refusals_say_what_to_do() -> Result<()> {
    for (status, says) in [(401, "HF_TOKEN"), (403, "terms"), (404, "no such file (404)"), (503, "503")] {
        let server = Server::start(move |_| Answer::new(status, b"sorry"));
        let folder = tempfile::tempdir()?;
        let hub = hub(&server, &folder);
        let url = format!("{}/a.pth", server.url);
        let of_checkpoint = hub.checkpoint(&url, "a.pth", "", &mut |_| ()).expect_err("refused").to_string();
        for error in [refused(&hub), of_checkpoint] {
            assert!(error.contains(says) && error.contains(&server.url), "{error}");
        }
        assert_eq!(files(&hub.checkpoints), ["a.pth.incomplete"]);
    }
    let folder = tempfile::tempdir()?;
    let answers = hub(&Server::start(|_| Answer::new(200, b"")), &folder);
    let nobody = Hub { endpoint: "http://127.0.0.1:9".to_owned(), ..answers };
    assert!(refused(&nobody).contains("cannot be reached"));
    Ok(())
}

#[test]
fn web_pages_are_no_weights() -> Result<()> {
    let page = b"\n <!DOCTYPE HTML><html>Sign in</html>";
    for typed in [true, false] {
        let server = Server::start(move |request| match request.method.as_str() {
            "HEAD" => found(&contents()),
            _ if typed => Answer::new(200, page).with("Content-Type", "text/html; charset=utf-8"),
            _ => Answer::new(200, page),
        });
        let folder = tempfile::tempdir()?;
        let hub = hub(&server, &folder);
        let url = format!("{}/a.pth", server.url);
        let of_checkpoint = hub.checkpoint(&url, "a.pth", "", &mut |_| ()).expect_err("a page").to_string();
        for error in [refused(&hub), of_checkpoint] {
            assert!(error.contains("a web page came"), "{error}");
        }
    }
    let server = Server::start(move |_| Answer::new(200, page).with("ETag", "\"../../../../evil\""));
    let error = refused(&hub(&server, &tempfile::tempdir()?));
    assert!(error.contains("not a hub's") && error.contains("HF_ENDPOINT"), "{error}");
    Ok(())
}

#[test]
fn a_file_of_unknown_length_and_contents_is_refused() -> Result<()> {
    let server =
        Server::start(|_| Answer::new(200, b"2\r\nab\r\n0\r\n\r\n").with("Transfer-Encoding", "chunked"));
    let folder = tempfile::tempdir()?;
    let hub = hub(&server, &folder);
    let url = format!("{}/a.pth", server.url);
    let fetch = |digest: &str| hub.checkpoint(&url, "a.pth", digest, &mut |_| ());
    assert!(fetch("").expect_err("how long?").to_string().contains("how long"));
    assert_eq!(std::fs::read(fetch(&sha256(b"ab")[..8])?)?, b"ab");
    Ok(())
}

#[test]
fn the_environment_says_where() -> Result<()> {
    let read = |variables: &'static [(&str, &str)]| {
        Hub::from_variables(move |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    };
    let usual = read(&[("HOME", "/no/home")])?;
    assert_eq!(usual.endpoint, "https://huggingface.co");
    assert_eq!(usual.repositories, Path::new("/no/home/.cache/huggingface/hub"));
    assert_eq!(usual.checkpoints, Path::new("/no/home/.cache/torch/hub/checkpoints"));
    assert_eq!((usual.token, usual.access), (None, Access::Online));
    let own = read(&[
        ("HOME", "/no/home"),
        ("XDG_CACHE_HOME", "/x"),
        ("HF_HOME", "/h"),
        ("HF_ENDPOINT", "http://mirror/"),
        ("HF_TOKEN", "secret\n"),
        ("HF_HUB_OFFLINE", "true"),
    ])?;
    assert_eq!((own.repositories.as_path(), own.token.as_deref()), (Path::new("/h/hub"), Some("secret")));
    assert_eq!(
        (own.checkpoints.as_path(), own.access),
        (Path::new("/x/torch/hub/checkpoints"), Access::Offline)
    );
    assert!(!format!("{own:?}").contains("secret"));
    let named = read(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h"), ("TORCH_HOME", "/t")])?;
    assert_eq!(named.repositories, Path::new("/c"));
    assert!(read(&[]).expect_err("nowhere").to_string().contains("HF_HOME"));
    Ok(())
}
