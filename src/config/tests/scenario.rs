//! Scenarios, and what is said of slips in them.

use super::*;

fn loss(text: &str) -> Loss {
    match read(text).unwrap().remove(0) {
        Document::Scenario(scenario) => scenario.loss,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_loss_has_what_it_needs() {
    assert_eq!(loss(SCENARIO), Loss::Namespace("shop".parse().unwrap()));
    let with = |lines: &str| SCENARIO.replace("  loss: namespace\n  namespace: shop\n", lines);
    assert_eq!(loss(&with("  loss: key\n  recipient: age1oncall\n")), Loss::Key(Some("age1oncall".into())));
    assert_eq!(loss(&with("  loss: key\n")), Loss::Key(None));
    for (word, expected) in [("cluster", Loss::Cluster), ("vault", Loss::Vault), ("tool", Loss::Tool)] {
        assert_eq!(loss(&with(&format!("  loss: {word}\n"))), expected);
    }
}

#[test]
fn slips_are_named_with_their_place() {
    for (from, to, said) in [
        ("loss: namespace", "loss: namespac", "`namespac` is nothing that a drill can lose, did you mean `namespace`?"),
        ("loss: namespace", "loss: vault", "`spec.namespace` at s/x.yaml:6:14: only `loss: namespace` has one"),
        ("  namespace: shop\n", "", "`spec.namespace`"),
        ("  namespace: shop\n", "  namespaces: shop\n", "did you mean `namespace`?"),
        ("namespace: shop", "namespace: Shop", "`Shop`"),
        ("loss: namespace\n  namespace: shop", "loss: key\n  recipient: me", "`me` is no recipient"),
    ] {
        let told = wrong(SCENARIO, from, to);
        assert!(told.contains(said), "{told}");
    }
}
