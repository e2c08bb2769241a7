package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every command and every flag is in the manual.
func TestTheManualHasEveryCommand(t *testing.T) {
	data, err := os.ReadFile("../../../../doc/vcdsim.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	var look func(*cobra.Command)
	look = func(c *cobra.Command) {
		if c.Name() == "completion" || c.Name() == "help" {
			return
		}
		if !c.HasSubCommands() && !strings.Contains(text, c.CommandPath()) {
			t.Errorf("%s is not in doc/vcdsim.md", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(text, "--"+f.Name) && (f.Shorthand == "" || !strings.Contains(text, "-"+f.Shorthand+" ")) {
				t.Errorf("%s: --%s is not in doc/vcdsim.md", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(newRoot())
}
