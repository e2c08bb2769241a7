package cli

import (
	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/sim/cloud"
)

func vmotionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vmotion VM",
		Short: "Move a VM to another host or datastore, as an administrator of vCenter would",
		Args:  wants("VM"),
	}
	dir := dirFlag(cmd)
	host := cmd.Flags().String("host", "", "name of the host to move to")
	datastore := cmd.Flags().String("datastore", "", "name of the datastore to move to")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cloud.NewClient(*dir).VMotion(cmd.Context(), args[0], *host, *datastore)
	}
	return cmd
}

func answerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "answer VM CHOICE",
		Short: "Answer what a VM asks whose datastore is full: 0 or retry, 1 or off to switch it off",
		Args:  wants("VM", "CHOICE"),
	}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cloud.NewClient(*dir).Answer(cmd.Context(), args[0], args[1])
	}
	return cmd
}

func datastoreCommand() *cobra.Command {
	fill := &cobra.Command{
		Use:   "fill NAME BYTES",
		Short: "Let so many bytes be taken by something else; 0 gives them back",
		Args:  wants("NAME", "BYTES"),
	}
	fillDir := dirFlag(fill)
	fill.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := cloud.ParseSize(args[1])
		if err != nil {
			return usageError{err}
		}
		return cloud.NewClient(*fillDir).FillDatastore(cmd.Context(), args[0], int64(n))
	}
	state := &cobra.Command{
		Use:   "state NAME normal|maintenance|inaccessible",
		Short: "Take a datastore into maintenance, or away",
		Args:  wants("NAME", "STATE"),
	}
	stateDir := dirFlag(state)
	state.RunE = func(cmd *cobra.Command, args []string) error {
		return cloud.NewClient(*stateDir).SetDatastoreState(cmd.Context(), args[0], args[1])
	}
	return group("datastore", "Fill a datastore, or take it away (NAME, or SITE/VCENTER/NAME)", fill, state)
}
