//! The steps of `versus_pytorch` with the system's allocator; it is started from there.

mod workloads;

fn main() {
    if std::env::args().any(|argument| argument == "serve") {
        workloads::serve();
    }
}
