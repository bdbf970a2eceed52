//! The machine's trusted certificates as a Java key store.
//!
//! Debian makes this file when a Java runtime is installed; an unpacked one has none, and Java then trusts nobody.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The key store under `dist`, written anew from the machine's bundle of certificates.
pub(super) fn ensure(dist: &Path) -> Result<PathBuf> {
    let path = dist.join("truststore.jks");
    let bundle = bundle().ok_or_else(|| {
        anyhow!(
            "find the machine's trusted certificates: neither SSL_CERT_FILE nor {}; install ca-certificates",
            BUNDLES[0]
        )
    })?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&bundle)
        .with_context(|| format!("open {}", bundle.display()))?
        .collect::<Result<_, _>>()
        .with_context(|| format!("read the certificates in {}", bundle.display()))?;
    let fresh = tempfile::NamedTempFile::new_in(dist).context("make the key store")?;
    fs::write(fresh.path(), key_store(&certificates)?).context("write the key store")?;
    fresh.persist(&path).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(BUNDLES.map(PathBuf::from)).find(|path| path.is_file())
}

/// Version 2 of Java's JKS format. The digest at its end is read only by who gives a password; nobody does for public
/// certificates, so it is left zero.
fn key_store(certificates: &[CertificateDer<'static>]) -> Result<Vec<u8>> {
    let length = |n: usize| u32::try_from(n).map(u32::to_be_bytes).context("a length in the key store");
    let text = |out: &mut Vec<u8>, text: &str| -> Result<()> {
        out.extend(u16::try_from(text.len()).context("an alias in the key store")?.to_be_bytes());
        out.extend(text.as_bytes());
        Ok(())
    };
    let mut out = Vec::new();
    out.extend(0xFEED_FEED_u32.to_be_bytes());
    out.extend(2_u32.to_be_bytes());
    out.extend(length(certificates.len())?);
    for (number, certificate) in certificates.iter().enumerate() {
        out.extend(2_u32.to_be_bytes());
        text(&mut out, &format!("ca{number}"))?;
        out.extend(0_u64.to_be_bytes());
        text(&mut out, "X.509")?;
        out.extend(length(certificate.len())?);
        out.extend(certificate.as_ref());
    }
    out.extend([0; 20]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_store_has_head_entries_and_digest() {
        let bytes = key_store(&[CertificateDer::from(vec![7; 3])]).unwrap();
        assert_eq!(bytes.get(..12).unwrap(), [0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 1]);
        assert_eq!(bytes.len(), 12 + 4 + (2 + 3) + 8 + (2 + 5) + 4 + 3 + 20);
    }
}
