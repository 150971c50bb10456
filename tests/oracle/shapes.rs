use std::fmt;

#[derive(Debug)]
pub enum Shape {
    Circle { radius: f64 },
    Square(f64),
}

impl Shape {
    pub fn area(&self) -> f64 {
        match self {
            Shape::Circle { radius } => {
                std::f64::consts::PI * radius * radius
            }
            Shape::Square(side) => side * side,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.area())
    }
}

fn largest<'a>(shapes: &'a [Shape]) -> Option<&'a Shape> {
    shapes
        .iter()
        .max_by(|one, other| one.area().total_cmp(&other.area()))
}
