//! Certificates of an authority of one's own, and servers that show them.

use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::mysql::{connect, execute, version};
use crate::server::Server;

/// Names under which clients of this machine reach a server.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// In a server's data folder; there MySQL looks by itself.
const CERTIFICATE: &str = "server-cert.pem";
/// See [`CERTIFICATE`].
const KEY: &str = "server-key.pem";
/// Against this one MySQL proves its own certificate before it takes it.
const OWN_AUTHORITY: &str = "ca.pem";

/// An authority that signs servers' certificates.
pub struct Authority {
    name: String,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("name", &self.name).finish_non_exhaustive()
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate().context("make an authority's key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = called(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let own = params.self_signed(&key).context("sign an authority's certificate")?;
        Ok(Self { name: name.to_owned(), pem: own.pem(), issuer: Issuer::new(params, key) })
    }

    /// Its own certificate, as files of trusted authorities hold it.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for servers of this machine, and its key.
    fn sign(&self) -> Result<[String; 2]> {
        let key = KeyPair::generate().context("make a server's key")?;
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).context("name a server")?;
        params.distinguished_name = called("server");
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, &self.issuer).context("sign a server's certificate")?;
        Ok([signed.pem(), key.serialize_pem()])
    }

    /// A MySQL or MariaDB server that runs shows a fresh certificate of this authority to whoever connects from now on, and
    /// after every restart. Nothing of it is in its binlog. A MariaDB server that has no certificate yet is started again for
    /// its first one.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn certify(&self, server: &Server) -> Result<()> {
        let [certificate, key] = self.sign()?;
        let data = server.folder().join("data");
        write(&data.join(KEY), &key)?;
        write(&data.join(CERTIFICATE), &certificate)?;
        write(&data.join(OWN_AUTHORITY), &self.pem)?;
        let what = || format!("let {server} show a certificate of {}", self.name);
        if !version(&server.url()).await?.contains("MariaDB") {
            return execute(&server.url(), &RELOAD).await.with_context(what);
        }
        if has_tls(server).await? {
            return execute(&server.url(), &["FLUSH LOCAL SSL"]).await.with_context(what);
        }
        let mut settings = fs::OpenOptions::new().append(true).open(server.folder().join("my.cnf"))?;
        let lines = format!("ssl_cert={0}/{CERTIFICATE}\nssl_key={0}/{KEY}\n", data.display());
        settings.write_all(lines.as_bytes()).context("write my.cnf")?;
        server.restart().await.with_context(what)?;
        ensure!(has_tls(server).await?, "{}: it offers no TLS", what());
        Ok(())
    }
}

/// MySQL: of a replica that takes no writes as well.
const RELOAD: [&str; 5] = [
    "SELECT @@GLOBAL.super_read_only INTO @was",
    "SET GLOBAL super_read_only = OFF",
    "SET sql_log_bin = 0",
    "ALTER INSTANCE RELOAD TLS",
    "SET GLOBAL super_read_only = @was",
];

async fn has_tls(server: &Server) -> Result<bool> {
    let mut conn = connect(&server.url()).await?;
    let has: Option<String> = conn.query_first("SELECT @@have_ssl").await.context("ask a server for TLS")?;
    conn.disconnect().await.context("close a connection to MariaDB")?;
    Ok(has.as_deref() == Some("YES"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("open {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}

/// Writes a file of trusted authorities in one step: nobody reads half of it.
///
/// # Errors
/// When it cannot be written.
pub fn trust(file: &Path, authorities: &[&Authority]) -> Result<()> {
    let fresh = file.with_extension("new");
    let text: String = authorities.iter().map(|authority| authority.pem()).collect();
    fs::write(&fresh, text).with_context(|| format!("write {}", fresh.display()))?;
    fs::rename(&fresh, file).with_context(|| format!("replace {}", file.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_holds_exactly_the_authorities_that_are_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let (old, new) = (Authority::new("old").unwrap(), Authority::new("new").unwrap());
        trust(&file, &[&old, &new]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap().matches("BEGIN CERTIFICATE").count(), 2);
        trust(&file, &[&new]).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), new.pem());
        let [certificate, key] = new.sign().unwrap();
        assert!(certificate.contains("BEGIN CERTIFICATE") && key.contains("PRIVATE KEY"));
    }
}
