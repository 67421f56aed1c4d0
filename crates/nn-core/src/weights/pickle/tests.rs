//! Pickles by hand: what each instruction means, and what none may do.

use super::super::flaw::{Read, flaw};
use super::{Heap, Id, Input, Node};

fn read(bytes: &[u8]) -> Read<(Heap, Id)> {
    super::read(&mut Input::new(bytes, bytes.len() as u64))
}

/// An object as Python would print it.
fn show(heap: &Heap, id: Id) -> String {
    let all = |items: &[Id]| items.iter().map(|&item| show(heap, item)).collect::<Vec<_>>().join(", ");
    match heap.get(id) {
        Node::Tuple(items) => format!("({})", all(items)),
        Node::List(items) => format!("[{}]", all(items)),
        Node::Dict(entries) => {
            let entry = |&(k, v): &(Id, Id)| format!("{}: {}", show(heap, k), show(heap, v));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Node::Persistent(name) => format!("@{}", show(heap, *name)),
        Node::Call { function, arguments } => format!("{}{}", show(heap, *function), show(heap, *arguments)),
        _ => heap.describe(id),
    }
}

fn shown(bytes: &[u8]) -> Read<String> {
    read(bytes).map(|(heap, root)| show(&heap, root))
}

/// What CPython 3.11 writes for `value`, protocol by protocol.
#[test]
fn every_protocol_of_python_is_read() {
    // {'a': [1, -2, 2**40, True, None, 0.5], 'b': (1, (2, 3))}
    let value = "{a: [1, -2, 1099511627776, True, None, 0.5], b: (1, (2, 3))}";
    let protocol0 =
        b"(dp0\nVa\np1\n(lp2\nI1\naI-2\naL1099511627776L\naI01\naNaF0.5\nasVb\np3\n(I1\n(I2\nI3\ntp4\ntp5\ns.";
    let protocol2 = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xff\x8a\x06\x00\x00\x00\
        \x00\x00\x01\x88NG?\xe0\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00bq\x03K\x01K\x02K\x03\x86q\x04\x86q\x05u.";
    let protocol4 = b"\x80\x04\x95\x33\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xff\
        \x8a\x06\x00\x00\x00\x00\x00\x01\x88NG?\xe0\x00\x00\x00\x00\x00\x00e\x8c\x01b\x94K\x01K\x02K\x03\x86\x94\
        \x86\x94u.";
    for pickle in [&protocol0[..], protocol2, protocol4] {
        assert_eq!(shown(pickle).expect("whole"), value);
        for length in 0..pickle.len() {
            read(&pickle[..length]).expect_err("cut off");
        }
    }
}

#[test]
fn what_would_be_called_is_written_down() -> Result<(), String> {
    let cases: [(&[u8], &str); 8] = [
        (b"cmy.module\nClass\n(K\x01tR.", "my.module.Class(1)"),
        (b"\x8c\x09my.module\x8c\x05Class\x93)\x81}b.", "my.module.Class()"),
        (b"(imy\nClass\n.", "my.Class()"),
        (b"(cmy\nClass\nK\x05o.", "my.Class(5)"),
        (b"ccollections\nOrderedDict\n)RK\x01K\x02s.", "{1: 2}"),
        (b"ccollections\nOrderedDict\n(((U\x01aK\x01l(U\x01bK\x02lltR.", "{a: 1, b: 2}"),
        (b"(U\x07storageK\x00tQ.", "@(storage, 0)"),
        (b"P7\n.", "@7"),
    ];
    for (pickle, expected) in cases {
        assert_eq!(shown(pickle).map_err(|e| format!("{expected}: {e}"))?, expected);
    }
    Ok(())
}

#[test]
fn harmful_names_are_refused_whoever_asks() {
    for (pickle, name) in [
        (&b"cos\nsystem\n(S'true'\ntR."[..], "os.system"),
        (b"cposix\nsystem\n.", "posix.system"),
        (b"\x8c\x0asubprocess\x8c\x05Popen\x93.", "subprocess.Popen"),
        (b"(S'true'\nios\npopen\n.", "os.popen"),
        (b"cbuiltins\neval\n.", "builtins.eval"),
        (b"c__builtin__\n__import__\n.", "__builtin__.__import__"),
        (b"cimportlib.util\nx\n.", "importlib.util.x"),
        (b"coperator\nattrgetter\n.", "operator.attrgetter"),
    ] {
        let error = read(pickle).expect_err("refused").to_string();
        assert!(error.starts_with(&format!("{name} is refused")), "{error}");
    }
    assert_eq!(shown(b"cbuiltins\nset\n.").expect("data"), "builtins.set");
}

#[test]
fn nonsense_is_an_error() {
    for pickle in [
        &b"."[..],
        b"0.",
        b"1.",
        b"(0.",
        b"K\x01(2.",
        b"K\x01\x86.",
        b"h\x00.",
        b"(K\x01d.",
        b"(o.",
        b"\x80\x06N.",
        b"I1x\n.",
        b"S1\n.",
        b"\xffN.",
        b"X\xff\xff\xff\xffab.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab.",
        b"K\x01K\x02\x93.",
    ] {
        read(pickle).expect_err(&format!("{pickle:?}"));
    }
}

/// Doubling references thirty times makes 2^30 leaves of a tree, and thirty tuples here; a list may hold itself.
#[test]
fn shared_objects_are_not_copied_and_circles_are_no_trap() {
    let mut pickle = b"N".to_vec();
    pickle.extend(b"2\x86".repeat(30));
    pickle.push(b'.');
    let (heap, _) = read(&pickle).expect("small");
    assert_eq!(heap.nodes.len(), 31);
    read(b"]q\x00h\x00a.").expect("a list that holds itself");
}

/// `memo[3] = True; memo[0], memo[1], memo[2] = None, 1, 2`, and the third again.
#[test]
fn the_memo_is_by_number_in_any_order() -> Result<(), String> {
    let pickle = b"\x88q\x03Nq\x00K\x01q\x01K\x02q\x02(h\x03h\x00h\x01h\x02t.";
    assert_eq!(shown(pickle).map_err(|e| e.to_string())?, "(True, None, 1, 2)");
    let again = b"\x88q\x01Nq\x00K\x07q\x01(h\x00h\x01t.";
    assert_eq!(shown(again).map_err(|e| e.to_string())?, "(None, 7)");
    let next = b"\x88q\x05N\x94(h\x05h\x01t.";
    assert_eq!(shown(next).map_err(|e| e.to_string())?, "(True, None)");
    Ok(())
}

#[test]
fn too_many_objects_are_refused() {
    let mut pickle = b"N0".repeat(super::MOST_NODES + 1);
    pickle.push(b'.');
    let error = read(&pickle).expect_err("a flood").to_string();
    assert!(error.contains("objects"), "{error}");
    let Err(error) = Err::<(), _>(flaw("x").at("data.pkl")) else { unreachable!("an error") };
    assert_eq!(error.to_string(), "data.pkl: x");
}
