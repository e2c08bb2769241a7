// Command vcdsim is a simulated VMware Cloud Director with vCenters and
// disks behind it, to try vappvault on and to test it.
package main

import (
	"os"

	"github.com/vappvault/vappvault/internal/sim/cloud/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:]))
}
