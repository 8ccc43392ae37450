//! Without this, a new migration would not make cargo embed the folder anew.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
