package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker; see the Makefile.
var version string

// program is what there is to know about the program itself.
type program struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

// buildInfo takes the version from the linker, else from the module or the
// checkout that the program was built from.
func buildInfo() program {
	p := program{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		modified := false
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				p.Commit = s.Value
			case "vcs.modified":
				modified = s.Value == "true"
			}
		}
		if modified && p.Commit != "" {
			p.Commit += "+changes"
		}
		if p.Version == "" && info.Main.Version != "(devel)" {
			p.Version = info.Main.Version
		}
	}
	if p.Version == "" {
		p.Version = "dev"
	}
	return p
}

func (e *env) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  vappvault version -o json",
		Args:    arguments(0, 0, ""),
		RunE: e.run(func(*cobra.Command, []string) error {
			p := buildInfo()
			return e.print("program", p, func(w io.Writer) {
				fmt.Fprintf(w, "vappvault %s", p.Version)
				if p.Commit != "" {
					fmt.Fprintf(w, " (%s)", p.Commit)
				}
				fmt.Fprintf(w, ", %s, %s\n", p.Go, p.System)
			})
		}),
	}
}
