//! Catalogues that go out and come back, and files that are wrong.

use proptest::prelude::*;

use super::*;
use crate::shop::money::{AMOUNT_MAX, Currency, Money};
use crate::shop::product::{Lease, Stock, UNITS_MAX};

const HEADER: &str = "sku,title,amount,currency";

fn faults(file: &str) -> Vec<(Option<u64>, String)> {
    let faults = read_csv(file.as_bytes()).expect_err(file);
    faults.told.into_iter().map(|fault| (fault.row, fault.field)).collect()
}

#[test]
fn a_file_from_a_spreadsheet_is_read_with_its_semicolons_and_its_mark() {
    let file = "\u{feff}SKU;Title;amount;currency;stock;on_sale;description\r\nCUP-1;Cup; 1999 ;CNY;100;TRUE;\
        \"two\r\nlines; \"\"so\"\"\"\r\n;;;;;;\r\nCUP-2;-5 % off;0;EUR;;no;\r\n";
    let edits = read_csv(file.as_bytes()).expect("right");
    assert_eq!(edits.len(), 2);
    let first = &edits[0];
    assert_eq!((first.sku.as_str(), first.stock, first.card.price.amount), ("CUP-1", Some(100), 1_999));
    assert_eq!((first.card.description.as_str(), first.card.on_sale), ("two\nlines; \"so\"", true));
    let second = &edits[1];
    assert_eq!((second.card.title.as_str(), second.stock, second.card.on_sale), ("-5 % off", None, false));
}

#[test]
fn everything_that_is_wrong_is_told_by_line_and_column() {
    let file = format!(
        "{HEADER},stock\nA,T,19.99,CNY,1\n\"B\nB\",T,5,CNY,1\nC,,5,RMB,x\nD,T,5,CNY\nE,T,5,CNY,1,1\nF,T,5,CNY,\nF,T,5,CNY,\n"
    );
    let place = |line, field: &str| (Some(line), field.to_owned());
    assert_eq!(
        faults(&file),
        [
            place(2, "amount"),
            place(3, "sku"),
            place(3, "sku"),
            place(5, "title"),
            place(5, "currency"),
            place(5, "stock"),
            place(6, ""),
            place(7, ""),
            place(9, "sku"),
        ]
    );
    let told = read_csv(file.as_bytes()).expect_err("wrong").to_string();
    assert!(told.contains("line 2, amount: must be a whole number"), "{told}");
    assert!(told.contains("line 9, sku: F stands in line 8 already"), "{told}");
}

#[test]
fn a_column_that_is_unknown_or_missing_is_named() {
    assert_eq!(faults("sku,title,prize,currency\n"), [(Some(1), "prize".into()), (Some(1), "amount".into())]);
    assert_eq!(faults(&format!("{HEADER},sku\n")), [(Some(1), "sku".into())]);
    assert_eq!(faults(""), [(None, String::new())]);
    let not_utf8 = [HEADER.as_bytes(), b"\nA,\xd6\xd0,5,CNY\n"].concat();
    assert_eq!(read_csv(&not_utf8).expect_err("GBK").told[0].row, Some(2));
}

#[test]
fn no_file_is_too_much() {
    let faults = read_csv(&vec![b'a'; BYTES_MAX + 1]).expect_err("too long");
    assert!(faults.to_string().contains("8 MiB"), "{faults}");
    let rows = |count: usize| {
        let lines = (0..count).map(|row| format!("S{row},T,5,CNY\n"));
        format!("{HEADER}\n{}", lines.collect::<String>())
    };
    assert_eq!(read_csv(rows(PRODUCTS_MAX).as_bytes()).expect("as many as may be").len(), PRODUCTS_MAX);
    assert_eq!(faults_of(&rows(PRODUCTS_MAX + 500)), (1, 0));
    let wrong = format!("{HEADER}\n{}", "A,T,x,CNY\n".repeat(2_000));
    assert_eq!(faults_of(&wrong), (FAULTS_MAX, 1_900));
    let list = format!("{{\"products\": [{}0]}}", "0,".repeat(20_000));
    let faults = read_json(list.as_bytes()).expect_err("wrong");
    assert_eq!((faults.told.len(), faults.more), (FAULTS_MAX, PRODUCTS_MAX + 1 - FAULTS_MAX));
}

fn faults_of(file: &str) -> (usize, usize) {
    let faults = read_csv(file.as_bytes()).expect_err("wrong");
    (faults.told.len(), faults.more)
}

#[test]
fn json_that_is_wrong_is_told_by_product_and_field() {
    let good = r#"{"sku":"A","title":"T","price":{"amount":5,"currency":"CNY"}}"#;
    for (file, row, field) in [
        (format!("{{\"products\":[{good},{good}]}}"), Some(2), "sku"),
        (format!("{{\"products\":[{good}],\"prodcts\":[]}}"), None, "prodcts"),
        (format!("{{\"products\":[{good},7]}}"), Some(2), ""),
        (
            r#"{"products":[{"sku":"A","title":"T","price":{"amount":-5,"currency":"CNY"}}]}"#.to_owned(),
            Some(1),
            "price.amount",
        ),
        ("[]".to_owned(), None, ""),
        ("{}".to_owned(), None, ""),
        (r#"{"products":{}}"#.to_owned(), None, ""),
        ("{\"products\":[".to_owned(), None, ""),
        (format!("{{\"products\":[{good}]}} and more"), None, ""),
    ] {
        let faults = read_json(file.as_bytes()).expect_err(&file);
        assert_eq!((faults.told[0].row, faults.told[0].field.as_str()), (row, field), "{file}: {faults}");
    }
    let faults = read_json(br#"{"products":[7]}"#).expect_err("wrong");
    assert_eq!(
        faults.to_json(),
        json!([{ "product": 1, "field": "", "detail": "must be an object: {...}" }])
    );
}

#[test]
fn no_cell_of_an_export_is_run_by_a_spreadsheet() {
    for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "'=1", "''-", "＝1"] {
        assert!(harmless(text).starts_with('\''), "{text}");
        assert_eq!(bare(&harmless(text)), text);
    }
    for text in ["", "Cup", "it's", "'tis", "5-1", "a=b"] {
        assert_eq!((harmless(text).as_str(), bare(text)), (text, text));
    }
}

fn any_text(chars: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let char = prop_oneof![
        4 => prop::sample::select("='+-@\"',; \u{a0}\u{feff}aÄ杯🍵".chars().collect::<Vec<_>>()),
        1 => any::<char>().prop_filter("no control characters come in", |c| !c.is_control()),
    ];
    prop::collection::vec(char, chars).prop_map(|chars| chars.into_iter().collect())
}

fn any_product() -> impl Strategy<Value = Product> {
    let texts = (
        any_text(1..20),
        prop::option::of(any_text(1..10)),
        prop::option::of(any_text(1..10)),
        prop::collection::vec(any_text(0..10), 0..3),
    );
    let price = (0..=AMOUNT_MAX, prop::sample::select(vec!["CNY", "EUR", "JPY"]));
    let small = || prop::option::of(0u32..=1_000_000);
    let rest = (0..=UNITS_MAX, small(), small(), any::<bool>(), -1_000_000i64..=1_000_000, any::<bool>());
    ("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", texts, price, rest).prop_map(|(sku, texts, price, rest)| {
        let (title, product, variant, lines) = texts;
        let (available, buyer_limit, low_stock, on_sale, position, leased) = rest;
        Product {
            sku: Sku::parse(&sku).expect("a SKU"),
            card: Card {
                title,
                product,
                variant,
                description: lines.join("\n"),
                price: Money { amount: price.0, currency: Currency::parse(price.1).expect("in use") },
                buyer_limit,
                low_stock,
                on_sale,
                position,
            },
            version: 3,
            stock: Stock { available, held: 1, sold: 2 },
            lease: leased.then(|| Lease { id: "show".into(), units: 1, used: 1, until_ms: None }),
            image: None,
            changed_ms: 0,
            removed: false,
        }
    })
}

proptest! {
    #[test]
    fn what_is_exported_reads_back_as_the_same_products(
        products in prop::collection::btree_map("[0-9]", any_product(), 0..6)
    ) {
        // Every SKU once: the same twice is a fault.
        let products: Vec<Product> = products.into_iter().map(|(digit, product)| {
            let sku = format!("{digit}{}", product.sku).chars().take(64).collect::<String>();
            Product { sku: Sku::parse(&sku).expect("a SKU"), ..product }
        }).collect();
        let wanted: Vec<ProductEdit> = products.iter().map(|product| ProductEdit {
            sku: product.sku.clone(),
            card: product.card.clone(),
            stock: Some(product.stock.available),
        }).collect();
        prop_assert_eq!(read_csv(&write_csv(&products)), Ok(wanted.clone()));
        prop_assert_eq!(read_json(&write_json(&products, 0)), Ok(wanted));
    }

    #[test]
    fn nothing_that_is_sent_breaks_it(file in prop::collection::vec(any::<u8>(), 0..300), tail in ".{0,200}") {
        let _ = read_json(&file);
        let _ = read_csv(&file);
        let _ = read_csv(format!("{HEADER}\n{tail}").as_bytes());
    }
}
