package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/selection"
)

// completeTimeout is how long someone who pressed TAB is kept waiting.
const completeTimeout = 5 * time.Second

func (e *env) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the script that completes commands in a shell",
		Example: `  vappvault completion bash | sudo tee /etc/bash_completion.d/vappvault
  source <(vappvault completion zsh)
  vappvault completion fish > ~/.config/fish/completions/vappvault.fish`,
		Args:      cobra.MatchAll(arguments(1, 1, "name a shell: bash, zsh, fish or powershell"), cobra.OnlyValidArgs),
		ValidArgs: shells,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(e.stdout, true)
			case "zsh":
				return root.GenZshCompletion(e.stdout)
			case "fish":
				return root.GenFishCompletion(e.stdout, true)
			default:
				return root.GenPowerShellCompletionWithDesc(e.stdout)
			}
		}),
	}
}

// completeSelectors offers the vApps that there are.
func (e *env) completeSelectors(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	var out []string
	e.quietly(cmd, func(ctx context.Context, a *app.App) error {
		items, err := a.List(ctx, nil)
		for _, it := range items {
			if it.VM == "" {
				out = offer(out, begun, selection.Format(it.Org, it.VDC, it.VApp, ""))
			}
		}
		return err
	})
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completePoints offers the restore points that there are, by vApp and by id.
func (e *env) completePoints(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	var out []string
	e.quietly(cmd, func(ctx context.Context, a *app.App) error {
		points, err := a.Points(ctx, nil)
		seen := map[string]bool{}
		for _, p := range points {
			vapp := selection.Format(p.Org.Label(), p.VDC.Label(), p.VApp.Name, "")
			if !seen[vapp] {
				seen[vapp] = true
				out = offer(out, begun, vapp+"@latest")
			}
			out = offer(out, begun, p.ID+"\t"+clean(vapp)+" "+stamp(p.Started))
		}
		return err
	})
	return out, cobra.ShellCompDirectiveNoFileComp
}

func offer(out []string, begun, candidate string) []string {
	if strings.HasPrefix(candidate, begun) {
		return append(out, candidate)
	}
	return out
}

// quietly does work for a completion: what goes wrong is not worth a word in
// the midst of a line being typed.
func (e *env) quietly(cmd *cobra.Command, work func(ctx context.Context, a *app.App) error) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	silent := &env{stdin: e.stdin, stdout: io.Discard, stderr: io.Discard, configPath: e.configPath}
	_ = silent.withApp(ctx, func(ctx context.Context, a *app.App, _ *config.Config) error { return work(ctx, a) })
}
