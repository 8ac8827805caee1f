use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use super::MovieLens;
use crate::disk;
use crate::error::{Error, ErrorKind, Result};

const GROUPLENS: &str = "https://files.grouplens.org/datasets/movielens";

impl MovieLens {
    /// The release's folder: in `data_dir` or, if none is given, in the folder that the environment variable
    /// `RECSYS_DATA_DIR` names or in the `recsys` folder of the platform's cache; failing that, fetched from
    /// GroupLens into `data_dir` or the cache.
    ///
    /// A download shows a progress bar where standard error is a terminal, goes on where an earlier one
    /// broke off, and is checked by size and SHA-256 before it is unpacked; the folder appears only when
    /// it is complete. The data's licence lies in it: most uses that are not research need permission.
    ///
    /// # Errors
    /// No cache folder; a server that cannot be reached or answers with an error; a body that is too
    /// short, too long or not the release's archive; a disk that cannot be written.
    pub fn find_or_download(self, data_dir: Option<&Path>) -> Result<PathBuf> {
        if let Some(folder) = self.find(data_dir) {
            return Ok(folder);
        }
        let parent = match data_dir {
            Some(data_dir) => data_dir.to_path_buf(),
            None => dirs::cache_dir()
                .ok_or_else(|| failed(GROUPLENS, "the platform names no cache folder; give a data folder"))?
                .join("recsys"),
        };
        match self.folder_in(&parent) {
            Some(folder) => Ok(folder),
            None => self.archive(GROUPLENS).fetch_into(&parent),
        }
    }

    fn archive(self, base_url: &str) -> Archive {
        // As published: the sizes and sums of the files that the server has offered for years.
        let (size, sha256) = match self {
            Self::Ml100k => (4_924_029, "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"),
            Self::Ml1m => (5_917_549, "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"),
            Self::Ml10m => (65_566_137, "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862"),
            Self::Ml20m => (198_702_078, "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3"),
            Self::Ml25m => (261_978_986, "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"),
            Self::Ml32m => (238_950_008, "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee"),
            Self::LatestSmall => {
                (978_202, "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436")
            }
        };
        Archive {
            url: format!("{base_url}/{self}.zip"),
            size,
            sha256: sha256.to_owned(),
            folder: self.folder().to_owned(),
        }
    }
}

/// A zip archive on a server.
#[derive(Clone, Debug)]
struct Archive {
    url: String,
    /// In bytes.
    size: u64,
    /// In hexadecimal digits, lower case.
    sha256: String,
    /// The folder that it holds.
    folder: String,
}

impl Archive {
    /// Fetches the archive, checks it, and unpacks its folder into `parent`, which is made if need be; if nothing comes, nothing
    /// is left behind.
    fn fetch_into(&self, parent: &Path) -> Result<PathBuf> {
        let missing: Vec<&Path> = parent.ancestors().take_while(|folder| !folder.exists()).collect();
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        let path = parent.join(format!("{}.zip.part", self.folder));
        self.fetch_through(&path, parent).inspect_err(|_| {
            if fs::metadata(&path).is_ok_and(|part| part.len() == 0) {
                // What can't be removed is in use, or the error's own cause.
                fs::remove_file(&path).ok();
                missing.iter().for_each(|folder| {
                    fs::remove_dir(folder).ok();
                });
            }
        })
    }

    /// Fetches the archive to `path`, and unpacks its folder from there into `parent`.
    fn fetch_through(&self, path: &Path, parent: &Path) -> Result<PathBuf> {
        let mut part = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io(path))?;
        part.lock().map_err(Error::io(path))?;
        let folder = parent.join(&self.folder);
        if !folder.exists() {
            self.fetch(&mut part, path)?;
            self.check(&mut part, path)?;
            self.unpack(&part, parent, &folder)?;
        }
        // Gone already, if another process has waited for the lock.
        fs::remove_file(path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(Error::io(path)(error)),
        })?;
        Ok(folder)
    }

    /// Appends to `part` what it lacks of the archive.
    fn fetch(&self, part: &mut File, path: &Path) -> Result<()> {
        let mut present = part.metadata().map_err(Error::io(path))?.len();
        if present == self.size {
            return Ok(());
        }
        if present > self.size {
            present = 0;
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        let mut request = agent.get(&self.url);
        if present > 0 {
            request = request.header("Range", format!("bytes={present}-"));
        }
        let response = request.call().map_err(|error| failed(&self.url, error))?;
        let start = match response.status().as_u16() {
            200 => 0,
            206 if starts_at(&response, present) => present,
            status => return Err(failed(&self.url, format!("the server answered with status {status}"))),
        };
        part.set_len(start).and_then(|()| part.seek(SeekFrom::Start(start))).map_err(Error::io(path))?;
        self.copy(response.into_body().into_reader(), part, path, start)
    }

    fn copy(&self, body: impl Read, part: &mut File, path: &Path, mut present: u64) -> Result<()> {
        let style = ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let progress = ProgressBar::new(self.size).with_style(style).with_message(self.folder.clone());
        // One byte more than expected shows a body that is too long.
        let mut body = body.take(self.size - present + 1);
        let mut buffer = vec![0; 64 << 10];
        loop {
            progress.set_position(present);
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) => return Err(self.broken_off(present, error)),
            };
            part.write_all(&buffer[..n]).map_err(Error::io(path))?;
            present += n as u64;
        }
        progress.finish_and_clear();
        if present < self.size {
            return Err(self.broken_off(present, "the end of the body"));
        }
        Ok(())
    }

    fn broken_off(&self, present: u64, why: impl std::fmt::Display) -> Error {
        let size = self.size;
        failed(&self.url, format!("{why} after {present} of {size} bytes; another try goes on from there"))
    }

    /// Compares size and checksum; an archive that differs is emptied, so that the next try starts anew.
    fn check(&self, part: &mut File, path: &Path) -> Result<()> {
        let size = part.metadata().map_err(Error::io(path))?.len();
        part.rewind().map_err(Error::io(path))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match part.read(&mut buffer).map_err(Error::io(path))? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if size == self.size && found == self.sha256 {
            return Ok(());
        }
        part.set_len(0).map_err(Error::io(path))?;
        let Self { size: expected_size, sha256: expected, .. } = self;
        let reason = if size > *expected_size {
            format!("more than the {expected_size} bytes of the archive")
        } else {
            format!("the archive's SHA-256 is {found}, not {expected}")
        };
        Err(failed(&self.url, reason))
    }

    /// Unpacks into a scratch folder, whose content then takes its name at once.
    fn unpack(&self, part: &File, parent: &Path, folder: &Path) -> Result<()> {
        let scratch = parent.join(format!(".{}.unpacking", self.folder));
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(Error::io(&scratch))?;
        }
        zip::ZipArchive::new(part)
            .and_then(|mut archive| archive.extract(&scratch))
            .map_err(|error| failed(&self.url, format!("the archive cannot be unpacked: {error}")))?;
        let unpacked = scratch.join(&self.folder);
        disk::sync_tree(&unpacked)?;
        fs::rename(&unpacked, folder).map_err(Error::io(folder))?;
        // The data is there, whatever becomes of the scratch folder; the next download removes it.
        fs::remove_dir_all(&scratch).ok();
        Ok(())
    }
}

/// Whether a partial answer begins with this byte.
fn starts_at<B>(response: &ureq::http::Response<B>, start: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {start}-")))
}

fn failed(url: &str, reason: impl std::fmt::Display) -> Error {
    ErrorKind::Download { url: url.to_owned(), reason: reason.to_string() }.into()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Answers one request after the other, each with what `answers` holds, and gives back what the
    /// clients asked: the value of the `Range` header, or nothing.
    fn serve(answers: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let answer = |answer: Vec<u8>| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut range = String::new();
                for line in BufReader::new(&stream).lines().map(Result::unwrap) {
                    if line.is_empty() {
                        break;
                    }
                    match line.split_once(": ") {
                        Some((name, value)) if name.eq_ignore_ascii_case("range") => range = value.to_owned(),
                        _ => {}
                    }
                }
                stream.write_all(&answer).unwrap();
                range
            };
            answers.into_iter().map(answer).collect()
        });
        (url, server)
    }

    fn answer(status: &str, length: usize, headers: &str, body: &[u8]) -> Vec<u8> {
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
        [head.as_bytes(), body].concat()
    }

    /// An archive of the folder `toy` with one large file, and its bytes.
    fn toy() -> (Archive, Vec<u8>) {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file("toy/ratings.csv", stored).unwrap();
        writer.write_all(&b"1,2,3,4\n".repeat(50_000)).unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let archive = Archive { url: String::new(), size: bytes.len() as u64, sha256, folder: "toy".into() };
        (archive, bytes)
    }

    #[test]
    fn a_broken_download_goes_on_and_is_unpacked() {
        let (mut archive, bytes) = toy();
        let half = bytes.len() / 2;
        let range = format!("Content-Range: bytes {half}-{}/{}\r\n", bytes.len() - 1, bytes.len());
        let (url, server) = serve(vec![
            answer("200 OK", bytes.len(), "", &bytes[..half]),
            answer("206 Partial Content", bytes.len() - half, &range, &bytes[half..]),
        ]);
        archive.url = url;
        let cache = tempfile::tempdir().unwrap();
        let error = archive.fetch_into(cache.path()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Download { .. }), "{error}");
        assert!(error.to_string().contains(&format!("after {half} of {} bytes", bytes.len())), "{error}");
        let folder = archive.fetch_into(cache.path()).unwrap();
        assert_eq!(fs::read(folder.join("ratings.csv")).unwrap(), b"1,2,3,4\n".repeat(50_000));
        assert_eq!(server.join().unwrap(), [String::new(), format!("bytes={half}-")]);
        let left: Vec<_> =
            fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["toy"]);
        // Now it is there, and nobody is asked.
        assert_eq!(archive.fetch_into(cache.path()).unwrap(), folder);
    }

    #[test]
    fn a_server_that_ignores_the_range_starts_anew() {
        let (mut archive, bytes) = toy();
        let (url, server) = serve(vec![answer("200 OK", bytes.len(), "", &bytes)]);
        archive.url = url;
        let cache = tempfile::tempdir().unwrap();
        fs::write(cache.path().join("toy.zip.part"), b"something old").unwrap();
        assert!(archive.fetch_into(cache.path()).unwrap().join("ratings.csv").is_file());
        assert_eq!(server.join().unwrap(), ["bytes=13-"]);
    }

    #[test]
    fn another_file_is_refused_and_forgotten() {
        let (mut archive, bytes) = toy();
        let mut other = bytes.clone();
        other[100] ^= 1;
        let longer = [&bytes[..], b"!"].concat();
        let (url, server) = serve(vec![
            answer("200 OK", other.len(), "", &other),
            answer("200 OK", longer.len(), "", &longer),
            answer("200 OK", bytes.len(), "", &bytes),
        ]);
        archive.url = url;
        let cache = tempfile::tempdir().unwrap();
        let message = |result: Result<PathBuf>| result.unwrap_err().to_string();
        assert!(message(archive.fetch_into(cache.path())).contains("the archive's SHA-256 is"));
        assert!(message(archive.fetch_into(cache.path())).contains("more than the"));
        assert!(archive.fetch_into(cache.path()).is_ok());
        assert_eq!(server.join().unwrap(), [""; 3]);
    }

    #[test]
    fn a_refusal_names_address_and_status() {
        let (mut archive, _) = toy();
        let (url, server) = serve(vec![answer("404 Not Found", 0, "", b"")]);
        archive.url = url.clone();
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(
            archive.fetch_into(cache.path()).unwrap_err().to_string(),
            format!("download of {url} failed: the server answered with status 404")
        );
        server.join().unwrap();
        let new = cache.path().join("new");
        let error = archive.fetch_into(&new.join("newer")).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Download { .. }), "{error}");
        assert!(!new.exists() && cache.path().read_dir().unwrap().next().is_none(), "nothing is left");
    }

    #[test]
    fn what_is_found_is_not_fetched() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("ml-10M100K");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("ratings.dat"), "1::2::3::4\n").unwrap();
        assert_eq!(MovieLens::Ml10m.find_or_download(Some(parent.path())).unwrap(), folder);
    }

    #[test]
    fn addresses_and_sums_are_well_formed() {
        for release in MovieLens::ALL {
            let archive = release.archive("http://x");
            assert_eq!(archive.url, format!("http://x/{}.zip", release.name()));
            assert!(archive.sha256.len() == 64 && archive.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
}
