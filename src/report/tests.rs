//! Whole pages from made data: every section, nothing unescaped, nothing from elsewhere.

use super::*;
use crate::scores::{Contingency, Scores};

const EMPTY: Report = Report {
    title: "",
    summary: &[],
    config: &[],
    history: &[],
    spectrum: None,
    sizes: &[],
    confusion: None,
    samples: None,
    warnings: &[],
};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(a, b)| (a.to_string(), b.to_string()))
        .collect()
}

fn history(epochs: usize, clusters: usize, scores: Option<Scores>) -> Vec<EpochRecord> {
    (1..=epochs)
        .map(|epoch| EpochRecord {
            attempt: 1,
            epoch,
            l_lap: 0.5 / epoch as f64,
            l_orth: 2.0 / (epoch * epoch) as f64,
            loss: 100.0 / (epoch * epoch) as f64,
            learning_rate: 0.005 / epoch as f64,
            sizes: (0..clusters).map(|c| (c * 7 % 13 + epoch) as u64).collect(),
            cut: None,
            kept: false,
            cut_of_targets: None,
            agreement: None,
            seconds: epoch as f64 * 0.7,
            scores,
        })
        .collect()
}

/// What every page must keep, whatever it is made of.
fn assert_sound(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>"));
    for foreign in [
        "http://",
        "https://",
        "<script",
        "<link",
        "@import",
        "url(",
        "src=\"/",
        "javascript:",
    ] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
    assert!(page.contains("default-src 'none'"));
    for source in page.split("src=\"").skip(1) {
        assert!(source.starts_with("data:image/png;base64,"));
    }
    // Numbers that are not finite may be told in words, but must not become lengths.
    for attribute in page.split('"').skip(1).step_by(2) {
        assert!(
            !attribute.contains("NaN") && !attribute.contains("inf"),
            "{attribute}"
        );
    }
    for tag in [
        "svg", "g", "figure", "section", "div", "table", "details", "text", "path", "rect",
    ] {
        let opened = page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count();
        assert_eq!(
            opened,
            page.matches(&format!("</{tag}>")).count(),
            "<{tag}> and </{tag}>"
        );
    }
    let svgs = page.matches("<svg ").count();
    assert_eq!(
        svgs,
        page.matches("role=\"img\" aria-label=\"").count(),
        "every chart says what it is"
    );
    for image in page.split("<img ").skip(1) {
        assert!(image.split('>').next().unwrap().contains("alt=\""));
    }
}

#[test]
fn a_labelled_image_run_has_every_section() {
    let evil = "<b>\"rock\" & 'roll'</b>";
    let truth: Vec<u32> = (0..600).map(|i| i % 3).collect();
    let predicted: Vec<u32> = truth
        .iter()
        .enumerate()
        .map(|(i, &t)| if i < 30 { t } else { (t + 1) % 3 })
        .collect();
    let table = Contingency::new(&predicted, 3, &truth, 3).unwrap();
    let classes = [evil.to_string(), "cat".to_string(), "dog".to_string()];
    let images = |n: usize| -> Vec<Vec<u8>> { (0..n).map(|i| vec![(40 * i) as u8; 5 * 4 * 3]).collect() };
    let per_cluster = [
        ClusterImages {
            confident: images(12),
            doubtful: images(3),
        },
        ClusterImages {
            confident: images(1),
            doubtful: vec![],
        },
        ClusterImages::default(),
    ];
    let page = Report {
        title: evil,
        summary: &pairs(&[("ACC", "0.950"), (evil, evil)]),
        config: &pairs(&[("gamma", "100"), (evil, evil)]),
        history: &history(20, 3, Some(Scores::from(&table))),
        spectrum: None,
        sizes: table.cluster_sizes(),
        confusion: Some(Confusion {
            classes: &classes,
            table: &table,
        }),
        samples: Some(Samples::Images {
            height: 5,
            width: 4,
            channels: 3,
            per_cluster: &per_cluster,
        }),
        warnings: &[evil.to_string()],
    }
    .to_html()
    .unwrap();
    assert_sound(&page);
    assert!(
        !page.contains(evil) && !page.contains("<b>") && page.contains("&lt;b&gt;&quot;rock&quot; &amp; ")
    );
    for heading in [
        "Before you trust this",
        "Loss",
        "Agreement with the labels",
        "Learning rate",
        "Final sizes",
        "Sizes while training",
        "Rows by cluster and class",
        "Cluster 2",
        "Settings",
        "Epoch by epoch",
    ] {
        assert!(page.contains(&format!(">{heading}<")), "{heading}");
    }
    assert!(page.contains("3 clusters · 600 rows · 20 epochs · trained in 14.0 s"));
    assert!(page.contains("<dt>ACC</dt><dd>0.950</dd>"));
    // Cluster 1 is matched with class 0: it comes first, on the diagonal, with its count and both shares.
    assert!(page.contains("cluster 1, class &lt;b&gt;"));
    assert!(page.contains("190 rows, 95.0 % of the class, 95.0 % of the cluster"));
    assert_eq!(page.matches("class=\"outline\"").count(), 3);
    // One sheet for each cluster that has members.
    assert_eq!(page.matches("<img ").count(), 2);
    assert!(page.contains("no members"));
    assert!(page.contains("alt=\"15 members of cluster 0: 12 it is sure of, 3 it is not\""));
}

#[test]
fn a_warm_up_has_its_own_chart_and_no_loss_and_the_spectrum_is_drawn() {
    let mut history = history(9, 2, None);
    for (i, epoch) in history.iter_mut().enumerate() {
        epoch.cut = Some(0.5 / (i + 1) as f64);
        if i < 4 {
            epoch.agreement = Some(0.2 * i as f64);
            (epoch.l_lap, epoch.l_orth, epoch.loss) = (0.0, 0.0, 12345.0);
        }
    }
    let spectrum = Spectrum {
        eigenvalues: vec![-1e-9, 1e-3, 0.25, 0.26, f64::NAN],
        residuals: vec![0.0, 1e-6, 1e-6, 1e-6, f64::NAN],
        gap: Some(crate::spectral::Gap {
            clusters: 2,
            ratio: 250.0,
        }),
    };
    let report = Report {
        title: "warm",
        history: &history,
        spectrum: Some(&spectrum),
        ..EMPTY
    };
    let page = report.to_html().unwrap();
    assert_sound(&page);
    for heading in ["Loss", "Exact cut", "Warm-up", "Spectrum of the training graph"] {
        assert!(page.contains(&format!(">{heading}<")), "{heading}");
    }
    assert!(
        page.contains(">k = 2<") && page.contains("suggests k = 2"),
        "the gap"
    );
    // The cross-entropy stands in the table alone, not among the losses.
    let charts = page.split("Epoch by epoch").next().unwrap();
    assert!(!charts.contains("12,345") && page.contains("12,345"));
    // Without a gap the page says so; without eigenvalues there is no chart.
    let flat = Spectrum {
        gap: None,
        ..spectrum.clone()
    };
    let page = Report {
        spectrum: Some(&flat),
        ..report
    };
    assert!(page.to_html().unwrap().contains("No gap stands out"));
    let none = Spectrum {
        eigenvalues: vec![],
        residuals: vec![],
        gap: None,
    };
    let page = Report {
        spectrum: Some(&none),
        ..page
    };
    assert!(!page.to_html().unwrap().contains("Spectrum of"));
}

#[test]
fn a_sheet_is_a_page_and_a_picture() {
    let spectrum = Spectrum {
        eigenvalues: (0..150).map(|i| 0.01 * f64::from(i)).collect(),
        residuals: vec![1e-6; 150],
        gap: None,
    };
    let points = [1e6, 1.0, 0.01].map(|gamma| gamma_search::Point {
        gamma,
        l_lap: 0.5,
        l_orth: 0.1 / gamma,
        cut: f64::NAN,
        acc: f64::NAN,
    });
    for sheet in [
        spectrum::sheet("<i>".into(), "of & about".into(), &spectrum),
        gamma_search::sheet("<i>".into(), "of & about".into(), &points),
    ] {
        let page = sheet.to_html();
        assert_sound(&page);
        assert!(!page.contains("<i>") && !sheet.to_svg().contains("<i>"));
        assert_eq!(page.matches("<figure").count(), sheet.charts.len());
        assert_eq!(sheet.to_svg().matches("<svg").count(), 1);
        assert_eq!(sheet.table.to_text().lines().count(), 1 + sheet.table.rows.len());
    }
}

#[test]
fn an_unlabelled_run_in_the_plane_shows_at_most_5000_points() {
    let mut xy: Vec<[f32; 2]> = (0..12_001)
        .map(|i| [(i as f32).sin(), (i as f32 * 0.7).cos()])
        .collect();
    xy[17] = [f32::NAN, 0.0];
    let cluster: Vec<u32> = (0..12_001).map(|i| i % 2).collect();
    let report = Report {
        title: "rings",
        history: &history(7, 2, None),
        sizes: &[6001, 6000],
        samples: Some(Samples::Points {
            xy: &xy,
            cluster: &cluster,
        }),
        ..EMPTY
    };
    let page = report.to_html().unwrap();
    assert_sound(&page);
    assert_eq!(page.matches("h0").count(), 5000);
    assert!(
        page.contains("5,000 points, evenly chosen out of 12,000. Left out because they are not finite: 1.")
    );
    assert!(!page.contains("Agreement") && !page.contains("Clusters and classes"));
    assert!(!page.contains("A sample of"));
    let sampled = Report {
        sizes: &[6001, 1_006_000],
        ..report
    };
    let page = sampled.to_html().unwrap();
    assert!(page.contains("A sample of 12,001 of the 1,012,001 rows."));
}

#[test]
fn one_epoch_many_clusters_and_odd_numbers_make_sound_pages() {
    for (epochs, clusters) in [(1, 1), (1, 2), (2, 20), (3, 21), (1, 61), (1203, 1000)] {
        let mut history = history(epochs, clusters, None);
        history[0].loss = f64::NAN;
        history[0].l_orth = f64::INFINITY;
        history[epochs / 2].learning_rate = 0.0;
        let sizes: Vec<u64> = (0..clusters).map(|c| (c * 31 % 17) as u64).collect();
        let page = Report {
            title: "odd",
            history: &history,
            sizes: &sizes,
            ..EMPTY
        }
        .to_html()
        .unwrap();
        assert_sound(&page);
        assert!(page.contains(">Final sizes<") && page.contains(">Sizes while training<"));
        assert_eq!(
            page.contains("500 epochs, evenly chosen out of 1,203"),
            epochs == 1203
        );
    }
    for samples in [
        Samples::Points {
            xy: &[[1.0, 2.0]],
            cluster: &[0],
        },
        Samples::Points {
            xy: &[[f32::MAX, f32::MIN], [f32::MIN, f32::MAX]],
            cluster: &[0, 0],
        },
        Samples::Points {
            xy: &[[f32::NAN, 2.0]],
            cluster: &[0],
        },
        Samples::Points {
            xy: &[],
            cluster: &[],
        },
    ] {
        let page = Report {
            title: "odd",
            sizes: &[1],
            samples: Some(samples),
            ..EMPTY
        }
        .to_html()
        .unwrap();
        assert_sound(&page);
    }
}

#[test]
fn a_large_table_is_a_picture_instead_of_numbers() {
    for (clusters, classes) in [(51, 3), (3, 51), (1000, 1200)] {
        let truth: Vec<u32> = (0..5000).map(|i| i % classes as u32).collect();
        let predicted: Vec<u32> = (0..5000).map(|i| i * 7 % clusters as u32).collect();
        let table = Contingency::new(&predicted, clusters, &truth, classes).unwrap();
        let names: Vec<String> = (0..classes).map(|c| format!("class {c}")).collect();
        let confusion = Some(Confusion {
            classes: &names,
            table: &table,
        });
        let page = Report {
            title: "wide",
            sizes: table.cluster_sizes(),
            confusion,
            ..EMPTY
        }
        .to_html()
        .unwrap();
        assert_sound(&page);
        assert_eq!(page.matches("<image ").count(), 1);
        assert!(page.contains("href=\"data:image/png;base64,"));
        assert!(!page.contains("class=\"heat\""));
    }
}

#[test]
fn nothing_to_show_is_still_a_page() {
    let page = Report {
        title: "empty",
        ..EMPTY
    }
    .to_html()
    .unwrap();
    assert_sound(&page);
    assert!(page.contains("<h1>empty</h1>") && !page.contains("<h2>") && !page.contains("<svg"));
}

#[test]
fn parts_that_do_not_fit_are_named() {
    let table = Contingency::new(&[0, 1], 2, &[0, 1], 2).unwrap();
    let message = |report: Report| report.to_html().unwrap_err().to_string();
    let names = ["a".to_string()];
    assert_eq!(
        message(Report {
            confusion: Some(Confusion {
                classes: &names,
                table: &table
            }),
            sizes: &[1, 1],
            ..EMPTY
        }),
        "the number of class names is 1, expected 2"
    );
    let points = |cluster| {
        Some(Samples::Points {
            xy: &[[0.0, 0.0], [1.0, 1.0]],
            cluster,
        })
    };
    assert_eq!(
        message(Report {
            samples: points(&[0]),
            sizes: &[2],
            ..EMPTY
        }),
        "the number of point labels is 1, expected 2"
    );
    assert_eq!(
        message(Report {
            samples: points(&[0, 4]),
            sizes: &[1, 1],
            ..EMPTY
        }),
        "the cluster of point 1 is 4, expected a number below 2"
    );
    let images = |channels, bytes: usize| {
        let per_cluster = [ClusterImages {
            confident: vec![vec![0; bytes]],
            doubtful: vec![],
        }];
        let samples = Some(Samples::Images {
            height: 2,
            width: 3,
            channels,
            per_cluster: &per_cluster,
        });
        message(Report {
            samples,
            sizes: &[1],
            ..EMPTY
        })
    };
    assert_eq!(
        images(1, 7),
        "the size in bytes of a sample image of cluster 0 is 7, expected 6"
    );
    assert_eq!(
        images(2, 12),
        "the size of a sample image is 2 x 3 x 2, expected height x width x 1 or 3"
    );
}
