//! The names of the classes, in the order of the outputs of networks that were trained on them.
//!
//! Source: Russakovsky et al. 2015, "ImageNet large scale visual recognition challenge", for the thousand classes and
//! their identifiers in WordNet; the short names are those of torchvision. Krizhevsky 2009 for CIFAR-10.

/// A line a class: the identifier, a space, the name.
const TEXT: &str = include_str!("labels/imagenet.txt");

/// The classes of ImageNet's challenge.
pub const IMAGENET: [&str; 1000] = columns().1;

/// The same classes as WordNet identifies them; the folders of ImageNet are called so.
pub const IMAGENET_WORDNET: [&str; 1000] = columns().0;

/// The same after a class for none of them, as TensorFlow's models have it.
pub const IMAGENET_AND_BACKGROUND: [&str; 1001] = {
    let mut names = ["background"; 1001];
    let mut class = 0;
    while class < IMAGENET.len() {
        names[class + 1] = IMAGENET[class];
        class += 1;
    }
    names
};

/// The classes of CIFAR-10.
pub const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Characters of an identifier: `n` and eight digits.
const IDENTIFIER: usize = 9;

const fn columns() -> ([&'static str; 1000], [&'static str; 1000]) {
    let (mut identifiers, mut names) = ([""; 1000], [""; 1000]);
    let mut rest = TEXT;
    let mut class = 0;
    while class < names.len() {
        let mut end = 0;
        while rest.as_bytes()[end] != b'\n' {
            end += 1;
        }
        let (line, after) = rest.split_at(end);
        let (identifier, name) = line.split_at(IDENTIFIER);
        (identifiers[class], names[class]) = (identifier, name.split_at(1).1);
        rest = after.split_at(1).1;
        class += 1;
    }
    (identifiers, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_imagenet_has_a_name_and_an_identifier_of_its_own() {
        assert_eq!((IMAGENET[0], IMAGENET[258], IMAGENET[999]), ("tench", "Samoyed", "toilet tissue"));
        assert!(IMAGENET.iter().all(|name| !name.is_empty() && name.trim() == *name));
        assert!(IMAGENET_WORDNET.is_sorted() && IMAGENET_WORDNET.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(IMAGENET_WORDNET.iter().all(|id| id.len() == IDENTIFIER && id.starts_with('n')));
        assert_eq!(TEXT.lines().count(), 1000);
    }
}
