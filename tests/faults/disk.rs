//! Small file systems that a test can fill to the last byte.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::data_folder;

/// Room enough for the reserve, which wants to be a fraction of what is free.
const TMPFS: &str = "size=48m";
/// The same, and a journal of 4 MiB.
const EXT4_BYTES: u64 = 56 << 20;

/// What kind of file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// In memory: a block is given out when it is written.
    Tmpfs,
    /// In a file, over a loop device: blocks are promised first and given out when they are
    /// written back, and folders take room as well.
    Ext4,
}

/// A small file system; unmounted when dropped.
pub(crate) struct SmallDisk {
    at: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where it cannot be mounted, which is said, and is a failure where it was required.
    pub(crate) fn mount(kind: Kind) -> Option<Self> {
        let at = data_folder();
        let point = at.path().join("mounted");
        fs::create_dir(&point).expect("a new folder");
        let mounted = match kind {
            Kind::Tmpfs => run("mount", &["-t", "tmpfs", "-o", TMPFS, "tmpfs"], &point),
            Kind::Ext4 => ext4_image(at.path()).and_then(|image| {
                let image = image.display().to_string();
                run("mount", &["-t", "ext4", "-o", "loop", &image], &point)
            }),
        };
        match mounted {
            Ok(()) => Some(Self { at }),
            Err(why) => {
                let required = std::env::var_os("FAULTS_REQUIRED").is_some();
                assert!(!required, "no small {kind:?} can be mounted: {why}");
                // Past the harness, which keeps to itself what a test prints that passes.
                let mut stderr = std::io::stderr();
                let _ = writeln!(stderr, "SKIPPED, nothing is tested: no small {kind:?}: {why}");
                None
            }
        }
    }

    fn point(&self) -> PathBuf {
        self.at.path().join("mounted")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.point().join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.point().join("ballast")
    }

    /// Fills the disk to its last byte, then gives `free_bytes` back.
    pub(crate) fn fill(&self, free_bytes: u64) {
        let mut ballast =
            OpenOptions::new().create(true).append(true).open(self.ballast()).expect("a ballast");
        for piece in [64 << 10, 4 << 10, 1] {
            let bytes = vec![1; piece];
            while ballast.write_all(&bytes).is_ok() {}
        }
        let len = fs::metadata(self.ballast()).expect("the ballast").len();
        ballast.set_len(len.saturating_sub(free_bytes)).expect("the ballast shrinks");
        // What is only promised may turn out to be free after all.
        ballast.sync_all().expect("room was found for all of it");
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.ballast()).expect("the ballast");
    }

    /// Whether a new file can hold a byte.
    pub(crate) fn takes_a_byte(&self) -> bool {
        let file = OpenOptions::new().create(true).append(true).open(self.point().join("more"));
        file.is_ok_and(|mut file| file.write_all(b"x").is_ok())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.point()).status();
    }
}

fn ext4_image(folder: &Path) -> Result<PathBuf, String> {
    let image = folder.join("image");
    let file = fs::File::create(&image).map_err(|error| error.to_string())?;
    file.set_len(EXT4_BYTES).map_err(|error| error.to_string())?;
    // Nothing kept back for root, which the tests may well be.
    run("mkfs.ext4", &["-q", "-F", "-m", "0"], &image)?;
    Ok(image)
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<(), String> {
    let done = Command::new(program).args(arguments).arg(path).output();
    match done.map_err(|error| format!("{program}: {error}"))? {
        Output { status, .. } if status.success() => Ok(()),
        Output { stderr, .. } => Err(String::from_utf8_lossy(&stderr).trim().to_owned()),
    }
}
