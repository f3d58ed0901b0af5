//! `footlight token`: makes, lists and revokes tokens, beside a running box or before its first start.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use crate::base::{clock, exit};
use crate::serve::auth::{self, Made, Record, Role, TokenError};

/// Makes a token and writes it, alone in a line, to `out`; all else goes to `said`, so that a script can take it.
pub fn make(data_dir: &Path, role: Role, name: &str, out: &mut dyn Write, said: &mut dyn Write) -> u8 {
    let Made { token, record, file } = match auth::make(data_dir, role, name, clock::wall()) {
        Ok(made) => made,
        Err(trouble) => return complain(said, &trouble),
    };
    if let Err(cause) = writeln!(out, "{}", token.reveal()).and_then(|()| out.flush()) {
        // Nobody has seen it and nobody ever will: it must not stay.
        let rest = match auth::revoke(data_dir, &record.id) {
            Ok(_) => "there is no new token".to_owned(),
            Err(trouble) => format!("token {} is to be revoked: {trouble}", record.id),
        };
        tell(said, &format!("the token could not be written to standard output: {cause}; {rest}\n"));
        return exit::FAILURE;
    }
    let file = std::path::absolute(&file).unwrap_or(file);
    let called = if name.is_empty() { String::new() } else { format!(" called {name:?}") };
    let words = format!(
        "Made a token of the role {role}{called}, id {id}; its hash is kept in {file}. It is shown only this once.\n",
        id = record.id,
        file = file.display(),
    );
    tell(said, &words);
    exit::OK
}

/// Lists the tokens there are; never a token.
pub fn list(data_dir: &Path, out: &mut dyn Write, said: &mut dyn Write) -> u8 {
    match auth::list(data_dir) {
        Ok(records) if records.is_empty() => {
            tell(said, "There are no tokens; footlight token new --role admin makes one.\n");
            exit::OK
        }
        Ok(records) => {
            tell(out, &table(&records));
            exit::OK
        }
        Err(trouble) => complain(said, &trouble),
    }
}

/// Revokes a token by its id.
pub fn revoke(data_dir: &Path, id: &str, said: &mut dyn Write) -> u8 {
    match auth::revoke(data_dir, id) {
        Ok(Record { id, role, .. }) => {
            tell(said, &format!("Revoked token {id} ({role}); a running box knows it within a second.\n"));
            exit::OK
        }
        Err(trouble) => complain(said, &trouble),
    }
}

fn table(records: &[Record]) -> String {
    let mut table = format!("{:<8}  {:<6}  {:<20}  NAME\n", "ID", "ROLE", "CREATED");
    for Record { id, role, name, created_at, .. } in records {
        let line = format!("{id:<8}  {:<6}  {created_at:<20}  {name}", role.name());
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

fn complain(said: &mut dyn Write, trouble: &TokenError) -> u8 {
    tell(said, &format!("{trouble}\n"));
    match trouble {
        TokenError::NoSuch(_) | TokenError::Name => exit::CONFIGURATION,
        TokenError::NoRandom
        | TokenError::Folder { .. }
        | TokenError::File { .. }
        | TokenError::Broken { .. }
        | TokenError::Full(_) => exit::ENVIRONMENT,
    }
}

/// Writes, and bears a reader that has gone away.
fn tell(to: &mut dyn Write, words: &str) {
    let _ = to.write_all(words.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// What a full disk or a closed pipe does.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_token_that_nobody_could_see_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut said = Vec::new();
        assert_eq!(make(folder.path(), Role::Admin, "", &mut Closed, &mut said), exit::FAILURE);
        assert!(String::from_utf8(said).unwrap().contains("no new token"));
        assert_eq!(auth::list(folder.path()).unwrap(), []);
    }
}
