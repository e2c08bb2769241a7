package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/sim/fault"
)

func faultCommand() *cobra.Command {
	return group("fault", "Make calls go wrong", faultAddCommand(), faultListCommand(), faultClearCommand())
}

func faultAddCommand() *cobra.Command {
	var rule fault.Rule
	var delay, retryAfter time.Duration
	var reset int64
	var offset, length, capacity string
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add a rule and print its id",
		Long: `Add a rule and print its id.

A rule acts on calls that match all its patterns, in which * stands for anything. The services:
  vcd           HTTP calls; operations such as "POST /api/vApp/*/action/enterMaintenanceMode"
  vcd-task      vCD's tasks; operations such as vappDeploy
  vsphere       SOAP calls; operations such as CreateSnapshotEx_Task
  vsphere-task  vCenter's tasks, by the operation that began them
  nfc, folder   transfers of disks and of datastore files; operations GET, PUT, …
  disk          VDDK's calls to a host; operations Open, Read, QueryAllocatedBlocks, …
  tls           handshakes; the operation is vcd or vsphere`,
		Example: `  vcdsim fault add --service vcd --operation 'POST *enterMaintenanceMode' --count 2 --status 503 --retry-after 2s
  vcdsim fault add --service vcd --operation 'GET /api/query' --skip 3 --count 1 --logout
  vcdsim fault add --service vsphere-task --operation RemoveSnapshot_Task --code FileLocked --outcome error
  vcdsim fault add --service nfc --operation GET --count 1 --reset 1048576
  vcdsim fault add --service disk --operation Read --offset 1MiB --length 64KiB --code 16000
  vcdsim fault add --service vcd --status 400 --code BUSY_ENTITY --probability 0.05`,
		Args: noArgs,
	}
	dir := dirFlag(cmd)
	f := cmd.Flags()
	patternFlags(f, &rule)
	f.StringVar(&rule.ID, "id", "", "the rule's id (default: made)")
	f.IntVar(&rule.Skip, "skip", 0, "let so many matching calls pass first")
	f.IntVar(&rule.Count, "count", 0, "act on so many calls (default: all)")
	f.Float64Var(&rule.Probability, "probability", 0, "of acting on a call, 0 to 1 (default: always)")
	f.BoolVar(&rule.After, "after", false, "let the call do its work first")
	f.DurationVar(&delay, "delay", 0, "wait")
	f.BoolVar(&rule.Hang, "hang", false, "do not answer until the rule is removed")
	f.IntVar(&rule.Status, "status", 0, "refuse with an HTTP status")
	f.StringVar(&rule.Code, "code", "", "refuse with a minorErrorCode of vCD, a fault's type of vSphere or the number of an error of VDDK")
	f.StringVar(&rule.Message, "message", "", "message of the refusal")
	f.DurationVar(&retryAfter, "retry-after", 0, "header of the refusal")
	f.BoolVar(&rule.Logout, "logout", false, "end the caller's session and refuse")
	f.Int64Var(&reset, "reset", 0, "reset the connection after so many bytes of the answer, or of an upload")
	f.Int64Var(&rule.Rate, "rate", 0, "answer with, or take of an upload, so many bytes in a second")
	f.StringVar(&rule.Outcome, "outcome", "", "how a task ends: error, canceled, aborted")
	f.IntVar(&rule.Drop, "drop", 0, "leave so many records out of a page of vCD")
	f.IntVar(&rule.Total, "total", 0, "add to the total of a page of vCD")
	f.StringVar(&rule.Certificate, "certificate", "", "show a certificate: expired, stranger (of another authority), elsewhere (for another host)")
	f.StringVar(&offset, "offset", "", "disk: only reads and writes that touch the bytes from here on")
	f.StringVar(&length, "length", "", "disk: so many bytes")
	f.StringVar(&rule.Crash, "crash", "", "disk: VDDK dies with the program that it is in: SIGSEGV, SIGABRT")
	f.StringVar(&capacity, "capacity", "", "disk: the size of the disk that Open tells")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		rule.Delay, rule.RetryAfter = fault.Duration(delay), fault.Duration(retryAfter)
		for _, size := range []struct {
			flag, text string
			to         *int64
		}{{"offset", offset, &rule.Offset}, {"length", length, &rule.Length}, {"capacity", capacity, &rule.Capacity}} {
			if size.text == "" {
				continue
			}
			n, err := cloud.ParseSize(size.text)
			if err != nil {
				return usageError{fmt.Errorf("--%s: %w", size.flag, err)}
			}
			*size.to = int64(n)
		}
		if f.Changed("reset") {
			rule.Reset = &reset
		}
		id, err := cloud.NewClient(*dir).AddFault(cmd.Context(), rule)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), id)
		return err
	}
	return cmd
}

// patternFlags are those that say which calls are meant.
func patternFlags(f *pflag.FlagSet, r *fault.Rule) {
	f.StringVar(&r.Service, "service", "", "vcd, vcd-task, vsphere, vsphere-task, nfc, folder, disk or tls")
	f.StringVar(&r.Server, "server", "", "SITE, SITE/VCENTER or SITE/VCENTER/HOST")
	f.StringVar(&r.Operation, "operation", "", "what is called")
	f.StringVar(&r.Object, "object", "", "address, moref, id or name of what it is called on")
	f.StringVar(&r.User, "user", "", "who calls")
}

func faultListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the rules, one JSON object a line", Args: noArgs}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		rules, err := cloud.NewClient(*dir).Faults(cmd.Context())
		if err != nil {
			return err
		}
		enc := json.NewEncoder(cmd.OutOrStdout())
		for _, r := range rules {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func faultClearCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "clear [ID…]", Short: "Remove rules, all of them without an id"}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cloud.NewClient(*dir).ClearFaults(cmd.Context(), args...)
	}
	return cmd
}

func callsCommand() *cobra.Command {
	var pattern fault.Rule
	var after int64
	var output string
	var forget bool
	cmd := &cobra.Command{
		Use:   "calls",
		Short: "List the calls that the servers got, the last 65,536",
		Args:  noArgs,
	}
	dir := dirFlag(cmd)
	patternFlags(cmd.Flags(), &pattern)
	cmd.Flags().Int64Var(&after, "after", 0, "only calls after this number")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, or json: one object a line")
	cmd.Flags().BoolVar(&forget, "forget", false, "empty the log afterwards")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if output != "text" && output != "json" {
			return usageError{fmt.Errorf("--output %q: want text or json", output)}
		}
		client := cloud.NewClient(*dir)
		calls, err := client.Calls(cmd.Context(), pattern, after)
		if err != nil {
			return err
		}
		if output == "text" {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), callHead); err != nil {
				return err
			}
		}
		enc := json.NewEncoder(cmd.OutOrStdout())
		for _, c := range calls {
			if output == "json" {
				err = enc.Encode(c)
			} else {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), callLine(c))
			}
			if err != nil {
				return err
			}
		}
		if forget {
			return client.ForgetCalls(cmd.Context())
		}
		return nil
	}
	return cmd
}

// callHead names the columns of callLine.
const callHead = "N\tTIME\tSERVICE\tSERVER\tUSER\tOPERATION\tOBJECT\tNAME\tSTATUS\tTOOK\tRULE"

// callLine is a call as people read it, and as cut and awk do: always the
// same columns, with - where there is nothing.
func callLine(c fault.Call) string {
	status := ""
	if c.Status != 0 {
		status = strconv.Itoa(c.Status)
	}
	columns := []string{strconv.FormatInt(c.N, 10), c.Time.Format("15:04:05.000"), c.Service, c.Server, c.User, c.Operation, c.Object, c.Name,
		status, time.Duration(c.Took).Round(time.Millisecond).String(), c.Rule}
	for i, text := range columns {
		columns[i] = cmp.Or(strings.Map(func(r rune) rune {
			if r == '\t' || r == '\n' || r == '\r' {
				return ' '
			}
			return r
		}, text), "-")
	}
	return strings.Join(columns, "\t")
}
