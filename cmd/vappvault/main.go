// Command vappvault backs up and restores the vApps of a VMware Cloud
// Director.
package main

import (
	"os"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/cli"
)

func main() {
	app.Tune()
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
