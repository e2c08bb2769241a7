package cli

import (
	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/sim/cloud"
)

func timeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "advance DURATION",
		Short: "Move the clocks of the vCDs on",
		Long: `Move the clocks of the vCDs on, by 90s, 36h or 14d.

Leases that end meanwhile end in their order; the command returns when what
that sets off is done. Sessions and delays do not notice.`,
		Args: wants("DURATION"),
	}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := cloud.ParseDuration(args[0])
		if err != nil {
			return usageError{err}
		}
		return cloud.NewClient(*dir).Advance(cmd.Context(), d)
	}
	return group("time", "The clock that leases go by", cmd)
}
