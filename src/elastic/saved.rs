//! Where things of a server stand in an archive. The source writes these paths, and the restore step reads them.

use super::kept::{KEPT, Kept};

/// What a member of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// Which server it was.
    Server,
    /// Settings, mappings and aliases of an index.
    Index(String),
    /// How many documents of an index were saved, and as of when; written when all of them were.
    Count(String),
    /// Documents of an index.
    Documents(String),
    /// A data stream.
    DataStream(String),
    /// A template, pipeline or policy.
    Kept(Kept, String),
}

impl Saved {
    /// Which server it was.
    pub const SERVER: &str = "server.json";

    /// Settings, mappings and aliases of an index.
    pub fn index(name: &str) -> String {
        format!("indices/{}/index.json", encode(name))
    }

    /// What is written when all documents of an index are.
    pub fn count(name: &str) -> String {
        format!("indices/{}/documents.json", encode(name))
    }

    /// The documents of one answer, numbered from 1 in each lane.
    pub fn documents(name: &str, lane: u32, page: u64) -> String {
        format!("indices/{}/documents/{lane:03}-{page:06}.ndjson", encode(name))
    }

    /// A data stream.
    pub fn data_stream(name: &str) -> String {
        format!("data-streams/{}.json", encode(name))
    }

    /// A template, pipeline or policy.
    pub fn kept(kept: &Kept, name: &str) -> String {
        format!("{}/{}.json", kept.folder, encode(name))
    }

    /// What the member at this path is; none when it is nothing that is known.
    pub fn at(path: &str) -> Option<Saved> {
        if path == Saved::SERVER {
            return Some(Saved::Server);
        }
        let (folder, rest) = path.split_once('/')?;
        if folder == "indices" {
            let (index, file) = rest.split_once('/')?;
            let index = decode(index);
            return match file {
                "index.json" => Some(Saved::Index(index)),
                "documents.json" => Some(Saved::Count(index)),
                file if file.starts_with("documents/") => Some(Saved::Documents(index)),
                _ => None,
            };
        }
        let name = decode(rest.strip_suffix(".json")?);
        if folder == "data-streams" {
            return Some(Saved::DataStream(name));
        }
        KEPT.into_iter().find(|kept| kept.folder == folder).map(|kept| Saved::Kept(kept, name))
    }
}

/// Names are free to hold what separates folders.
fn encode(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F").replace('\\', "%5C")
}

fn decode(name: &str) -> String {
    name.replace("%5C", "\\").replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::check_path;

    #[test]
    fn every_path_is_read_as_it_was_written() {
        let odd = "a/b%2F\\c";
        let all = [
            (Saved::SERVER.to_string(), Saved::Server),
            (Saved::index("kubernetes-1"), Saved::Index("kubernetes-1".into())),
            (Saved::count(odd), Saved::Count(odd.into())),
            (Saved::documents(odd, 2, 17), Saved::Documents(odd.into())),
            (Saved::data_stream("logs-x"), Saved::DataStream("logs-x".into())),
            (Saved::kept(&KEPT[2], odd), Saved::Kept(KEPT[2], odd.into())),
        ];
        for (path, saved) in all {
            check_path(&path).unwrap();
            assert_eq!(Saved::at(&path), Some(saved), "{path}");
        }
        for path in ["x", "other/a.json", "indices/a", "indices/a/b.json", "pipelines/a"] {
            assert_eq!(Saved::at(path), None, "{path}");
        }
    }
}
