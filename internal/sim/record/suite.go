package record

import (
	"fmt"
	"os"
)

// Suite runs a package's tests with a recorder for all of their clouds, and
// has what went over the wire checked in the end. It returns the exit code.
// The folder that VAPPVAULT_VCD_API names holds the schemas and the program
// that checks; without it the recorder is nil and keeps nothing.
func Suite(run func(*Recorder) int) int {
	api := os.Getenv("VAPPVAULT_VCD_API")
	if api == "" {
		fmt.Fprintln(os.Stderr, "documents are not checked against the schemas: VAPPVAULT_VCD_API is not set")
		return run(nil)
	}
	code, err := suite(api, run)
	if err != nil {
		fmt.Fprintf(os.Stderr, "documents that are not valid:\n%.8000s\n", err)
		return max(code, 1)
	}
	return code
}

func suite(api string, run func(*Recorder) int) (code int, err error) {
	dir, err := os.MkdirTemp("", "documents")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r, err := Open(dir)
	if err != nil {
		return 1, err
	}
	code = run(r)
	if err := r.Err(); err != nil {
		return code, err
	}
	n, err := Check(dir, api)
	if err == nil {
		fmt.Fprintf(os.Stderr, "%d shapes of documents are valid\n", n)
	}
	return code, err
}
