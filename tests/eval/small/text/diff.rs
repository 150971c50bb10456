//! What has changed between two texts, line by line.

/// One step on the way from the old text to the new one.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<'a> {
    Keep(&'a str),
    Insert(&'a str),
    Remove(&'a str),
}

/// The shortest list of steps, by the longest common subsequence.
pub fn steps<'a>(old: &'a str, new: &'a str) -> Vec<Step<'a>> {
    let (a, b): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let table = lengths(&a, &b);
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            found.push(Step::Keep(a[i]));
            i += 1;
            j += 1;
        } else if table[i + 1][j] >= table[i][j + 1] {
            found.push(Step::Remove(a[i]));
            i += 1;
        } else {
            found.push(Step::Insert(b[j]));
            j += 1;
        }
    }
    found.extend(a[i..].iter().map(|line| Step::Remove(line)));
    found.extend(b[j..].iter().map(|line| Step::Insert(line)));
    found
}

fn lengths(a: &[&str], b: &[&str]) -> Vec<Vec<usize>> {
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            table[i][j] = if a[i] == b[j] {
                table[i + 1][j + 1] + 1
            } else {
                table[i + 1][j].max(table[i][j + 1])
            };
        }
    }
    table
}

/// As `diff -u` prints it, without the lines that say where.
pub fn unified(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let (mark, line) = match step {
            Step::Keep(line) => (' ', line),
            Step::Insert(line) => ('+', line),
            Step::Remove(line) => ('-', line),
        };
        text.push(mark);
        text.push_str(line);
        text.push('\n');
    }
    text
}
