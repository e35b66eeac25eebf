// The official age test vectors (C2SP CCTV). No Go code here imports them: do not run "go mod tidy".
module ckbackup.io/tests/rig/age-vectors

go 1.24.0

require c2sp.org/CCTV/age v0.0.0-20251208015420-e9274a7bdbfd
