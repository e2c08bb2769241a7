// Command validate has the documents that vcdsim recorded checked against
// VMware's schemas: validate DIR, with VAPPVAULT_VCD_API set to their folder.
package main

import (
	"fmt"
	"os"

	"github.com/vappvault/vappvault/internal/sim/record"
)

func main() {
	api := os.Getenv("VAPPVAULT_VCD_API")
	if len(os.Args) != 2 || api == "" {
		fmt.Fprintln(os.Stderr, "usage: VAPPVAULT_VCD_API=FOLDER validate DIR")
		os.Exit(2)
	}
	n, err := record.Check(os.Args[1], api)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d shapes of documents are valid\n", n)
}
