//! Debian packages without root: a private apt state, signatures checked, packages unpacked into a folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::{Progress, run};

/// Which of Debian's suites a set of packages comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    /// The machine's own.
    Own,
    /// Unstable, the only one with MySQL.
    Sid,
}

/// A set of packages that is unpacked into one tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackageSet {
    /// The name of its folders.
    pub(super) name: &'static str,
    /// Where it comes from.
    pub(super) suite: Suite,
    /// What is asked for; apt adds what these depend on.
    pub(super) packages: &'static [&'static str],
    /// Which of the packages that apt names are wanted.
    pub(super) keep: fn(&str) -> bool,
}

/// A private apt state for one suite.
struct Apt {
    config: PathBuf,
}

/// Downloads (unless `cache` has them) and unpacks a set into `tree`, which comes into being whole or not at all.
pub(super) fn install(set: &PackageSet, cache: &Path, tree: &Path, progress: Progress<'_>) -> Result<()> {
    let packages = cache.join(set.name);
    let complete = packages.join(".complete");
    if !complete.is_file() {
        progress(&format!("downloading {} with apt into {}", set.packages.join(", "), packages.display()));
        fs::create_dir_all(&packages).with_context(|| format!("make {}", packages.display()))?;
        let apt = Apt::prepare(set.suite, &cache.join("apt"))?;
        apt.update()?;
        let names = apt.closure(set)?;
        apt.download(&names, &packages)?;
        fs::write(&complete, names.join("\n")).context("mark the downloads complete")?;
    }
    progress(&format!("unpacking {}", set.name));
    unpack(&packages, tree).with_context(|| {
        format!("unpack {}; if a package there is damaged, remove {} and try again", set.name, packages.display())
    })
}

impl Apt {
    fn prepare(suite: Suite, root: &Path) -> Result<Self> {
        let root = root.join(match suite {
            Suite::Own => "own",
            Suite::Sid => "sid",
        });
        for folder in ["state/lists/partial", "cache/archives/partial", "etc/none.d"] {
            fs::create_dir_all(root.join(folder)).with_context(|| format!("make {}/{folder}", root.display()))?;
        }
        // An empty list of installed packages: every library comes along, whatever the machine has.
        fs::write(root.join("state/status"), "").context("write the private package status")?;
        fs::write(root.join("etc/sources.list"), sources(suite)?).context("write the private sources.list")?;
        let config = root.join("apt.conf");
        fs::write(&config, settings(&root)).context("write the private apt.conf")?;
        Ok(Self { config })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q").arg("-c").arg(&self.config).env("LC_ALL", "C");
        command
    }

    fn update(&self) -> Result<()> {
        run(self.command().arg("update"), "read Debian's package lists").map(drop)
    }

    fn closure(&self, set: &PackageSet) -> Result<Vec<String>> {
        let mut command = self.command();
        command.args(["-s", "--no-install-recommends", "install"]).args(set.packages);
        let text = run(&mut command, "find what the packages depend on")?;
        let names = text.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        Ok(names.filter(|name| (set.keep)(name)).map(str::to_owned).collect())
    }

    fn download(&self, names: &[String], into: &Path) -> Result<()> {
        let mut command = self.command();
        command.arg("download").args(names).current_dir(into);
        run(&mut command, "download Debian packages").map(drop)
    }
}

/// The host's own settings (a proxy, say) stay in force; what touches the host does not.
fn settings(root: &Path) -> String {
    let root = root.display();
    format!(
        r#"#clear APT::Update;
#clear DPkg;
Dir::State "{root}/state";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{root}/etc/sources.list";
Dir::Etc::sourceparts "{root}/etc/none.d";
Dir::Etc::preferences "{root}/etc/none";
Dir::Etc::preferencesparts "{root}/etc/none.d";
APT::Sandbox::User "root";
APT::Default-Release "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::Retries "3";
"#
    )
}

/// The lines of sources.list for a suite, from the machine's own mirrors.
fn sources(suite: Suite) -> Result<String> {
    let mut query = Command::new("apt-get");
    query.args(["indextargets", "--format", "$(REPO_URI) $(ORIGIN)"]).env("LC_ALL", "C");
    let text = run(&mut query, "ask apt for its mirrors (Debian's apt is needed to get the servers)")?;
    let (main, security) = mirrors(&text);
    let main = main.ok_or_else(|| anyhow!("ask apt for its mirrors: none of them is Debian's; is this Debian?"))?;
    let options = keyring().map(|path| format!("[signed-by={}] ", path.display())).unwrap_or_default();
    Ok(match suite {
        Suite::Sid => format!("deb {options}{main} sid main\n"),
        Suite::Own => {
            let codename = codename()?;
            let mut lines =
                format!("deb {options}{main} {codename} main\ndeb {options}{main} {codename}-updates main\n");
            if let Some(security) = security {
                lines += &format!("deb {options}{security} {codename}-security main\n");
            }
            lines
        }
    })
}

/// The mirror of Debian and that of its security updates. The origin is unknown before the first `apt-get update`.
fn mirrors(index_targets: &str) -> (Option<String>, Option<String>) {
    let mut found = (None, None);
    for line in index_targets.lines() {
        let (uri, origin) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let named = uri.trim_end_matches('/');
        let security = named.ends_with("debian-security") || named.contains("security.debian.org");
        if security {
            found.1.get_or_insert_with(|| uri.to_owned());
        } else if origin == "Debian" || named.ends_with("/debian") {
            found.0.get_or_insert_with(|| uri.to_owned());
        }
    }
    found
}

fn keyring() -> Option<PathBuf> {
    let path = PathBuf::from("/usr/share/keyrings/debian-archive-keyring.gpg");
    path.is_file().then_some(path)
}

fn codename() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let name = name.map(|name| name.trim_matches('"').to_owned());
    name.ok_or_else(|| anyhow!("read /etc/os-release: it names no VERSION_CODENAME; is this Debian?"))
}

fn unpack(packages: &Path, tree: &Path) -> Result<()> {
    let parent = tree.parent().context("a folder to unpack into")?;
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    let fresh =
        tempfile::Builder::new().prefix("unpack-").tempdir_in(parent).context("make a folder to unpack into")?;
    let mut any = false;
    for entry in fs::read_dir(packages).with_context(|| format!("list {}", packages.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(fresh.path()), "unpack a Debian package")?;
            any = true;
        }
    }
    if !any {
        bail!("no package in {}", packages.display());
    }
    mend_links(fresh.path(), fresh.path())?;
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("remove the old {}", tree.display()))?;
    }
    fs::rename(fresh.keep(), tree).with_context(|| format!("move the unpacked tree to {}", tree.display()))
}

/// Packages hold absolute links (`/etc/maven`) that would leave the tree: they are turned back into it.
fn mend_links(root: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            mend_links(root, &path)?;
        } else if kind.is_symlink() {
            let Ok(inside) = fs::read_link(&path)?.strip_prefix("/").map(Path::to_path_buf) else { continue };
            let depth = folder.strip_prefix(root).map_or(0, |below| below.components().count());
            let target: PathBuf = std::iter::repeat_n("..", depth).collect::<PathBuf>().join(inside);
            fs::remove_file(&path)?;
            symlink(&target, &path).with_context(|| format!("mend the link {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mirrors_are_told_apart_before_and_after_the_first_update() {
        let seen = "http://a.example/debian-security/ Debian\nhttp://a.example/debian/ Debian\n";
        let fresh = "http://security.debian.org/debian-security/ \nhttps://a.example/debian \n";
        assert_eq!(
            mirrors(seen),
            (Some("http://a.example/debian/".into()), Some("http://a.example/debian-security/".into()))
        );
        assert_eq!(
            mirrors(fresh),
            (Some("https://a.example/debian".into()), Some("http://security.debian.org/debian-security/".into()))
        );
        assert_eq!(mirrors("http://other.example/ubuntu Ubuntu\n"), (None, None));
    }

    #[test]
    fn absolute_links_are_turned_back_into_the_tree() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("etc/maven")).unwrap();
        fs::write(tree.path().join("etc/maven/m2.conf"), "x").unwrap();
        fs::create_dir_all(tree.path().join("usr/share/maven")).unwrap();
        symlink("/etc/maven", tree.path().join("usr/share/maven/conf")).unwrap();
        mend_links(tree.path(), tree.path()).unwrap();
        assert_eq!(fs::read(tree.path().join("usr/share/maven/conf/m2.conf")).unwrap(), b"x");
    }
}
