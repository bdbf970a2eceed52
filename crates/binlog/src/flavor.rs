//! Which family of servers wrote a file.

/// The family of the server that wrote a binlog file, told by the version in its format description.
///
/// It decides what the two families do differently under the same numbers: which event types exist, how the optional part
/// of a table map counts its columns, which status variables a statement carries, and whether an event in a file may lack
/// its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// MySQL, and what is built from its source.
    #[default]
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavor {
    /// The flavour of a server version as a format description spells it (`9.7.4`, `11.8.3-MariaDB-log`).
    pub fn of(server_version: &str) -> Self {
        let name = b"mariadb";
        let maria = server_version.as_bytes().windows(name.len()).any(|part| part.eq_ignore_ascii_case(name));
        if maria { Self::MariaDb } else { Self::MySql }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_tells_the_flavour() {
        for (version, flavor) in [
            ("9.7.4", Flavor::MySql),
            ("8.0.36-28 Percona", Flavor::MySql),
            ("", Flavor::MySql),
            ("10.11.19-MariaDB-0+deb12u1-log", Flavor::MariaDb),
            ("5.5.5-10.6.1-mariadb", Flavor::MariaDb),
        ] {
            assert_eq!(Flavor::of(version), flavor, "{version}");
        }
    }
}
