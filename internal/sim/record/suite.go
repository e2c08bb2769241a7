package record

import (
	"fmt"
	"os"
)

// Suite runs a package's tests with a recorder for all of their clouds, and
// has what they answered checked in the end. It returns the exit code. The
// folder that VAPPVAULT_VCD_API names holds the schemas and the program that
// checks; without it the recorder keeps nothing.
func Suite(newer string, run func(*Recorder) int) int {
	api := os.Getenv("VAPPVAULT_VCD_API")
	if api == "" {
		fmt.Fprintln(os.Stderr, "documents are not checked against the schemas: VAPPVAULT_VCD_API is not set")
		return run(nil)
	}
	dir, err := os.MkdirTemp("", "documents")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r, err := Open(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := run(r)
	n, err := Check(dir, api, newer)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "documents that are not valid:\n%.8000s\n", err)
		return max(code, 1)
	}
	fmt.Fprintf(os.Stderr, "%d shapes of documents are valid\n", n)
	return code
}
