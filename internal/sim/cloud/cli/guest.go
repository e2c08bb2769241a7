package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/sim/cloud"
)

func guestCommand() *cobra.Command {
	return group("guest", "Act as a VM's guest: write, read or sum the bytes of its disks",
		guestWrite(), guestRead(), guestSum())
}

const guestLong = `

VM is a name where only one VM has it, else ORG/VDC/VAPP/VM with / @ * % inside
a name percent-encoded. DISK counts from 0. Sizes may be written as 4MiB.`

func guestWrite() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "write VM DISK",
		Short: "Write standard input to a disk",
		Long:  "Write standard input to a disk, from --offset on, as the guest would." + guestLong,
		Args:  wants("VM", "DISK"),
	}
	dir := dirFlag(cmd)
	offset := cmd.Flags().String("offset", "0", "where to begin, in bytes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		disk, err := diskNumber(args[1])
		if err != nil {
			return err
		}
		at, err := size("offset", *offset)
		if err != nil {
			return err
		}
		_, err = cloud.NewClient(*dir).Write(cmd.Context(), args[0], disk, at, cmd.InOrStdin())
		return err
	}
	return cmd
}

func guestRead() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "read VM DISK",
		Short: "Write a disk's bytes to standard output",
		Long:  "Write a disk's bytes to standard output: all, or --length from --offset on." + guestLong,
		Args:  wants("VM", "DISK"),
	}
	dir := dirFlag(cmd)
	offset := cmd.Flags().String("offset", "0", "where to begin, in bytes")
	length := cmd.Flags().String("length", "", "how much, in bytes (default: up to the end)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		disk, err := diskNumber(args[1])
		if err != nil {
			return err
		}
		at, err := size("offset", *offset)
		if err != nil {
			return err
		}
		n := int64(-1)
		if *length != "" {
			if n, err = size("length", *length); err != nil {
				return err
			}
		}
		return cloud.NewClient(*dir).Read(cmd.Context(), args[0], disk, at, n, cmd.OutOrStdout())
	}
	return cmd
}

func guestSum() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sum VM DISK",
		Short: "Print the SHA-256 of a disk's bytes",
		Long:  "Print the SHA-256 of a disk's bytes, in hex: what sha256sum says of `guest read`." + guestLong,
		Args:  wants("VM", "DISK"),
	}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		disk, err := diskNumber(args[1])
		if err != nil {
			return err
		}
		sum, err := cloud.NewClient(*dir).Sum(cmd.Context(), args[0], disk)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), sum)
		return err
	}
	return cmd
}

func diskNumber(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, usageError{fmt.Errorf("disk %q: want a number from 0", text)}
	}
	return n, nil
}

func size(flag, text string) (int64, error) {
	n, err := cloud.ParseSize(text)
	if err != nil {
		return 0, usageError{fmt.Errorf("--%s: %w", flag, err)}
	}
	return int64(n), nil
}
