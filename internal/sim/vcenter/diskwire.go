package vcenter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The protocol of the disk port, which test/vddk/README.md has in words. All
// numbers are little-endian.

const (
	diskConnect = iota + 1
	diskOpen
	diskRead
	diskWrite
	diskFlush
	diskBlocks
	diskClose
	diskDisconnect
)

// diskOps are the operations as rules and the log of calls have them: VDDK's
// functions.
var diskOps = map[uint32]string{
	diskConnect: "Connect", diskOpen: "Open", diskRead: "Read", diskWrite: "Write", diskFlush: "Flush",
	diskBlocks: "QueryAllocatedBlocks", diskClose: "Close", diskDisconnect: "Disconnect",
}

// VDDK's error numbers (vixDiskLib.h, VIX_E_…).
const (
	vixFail           = 1
	vixNoMemory       = 2
	vixInvalidArg     = 3
	vixNotFound       = 4
	vixFileError      = 7
	vixDiskFull       = 8
	vixReadOnly       = 11
	vixLocked         = 15
	vixNoPermission   = 3014
	vixNoVM           = 4000
	vixNoSnapshot     = 13003
	vixRefused        = 14009
	vixConnectionLost = 14011
	vixDiskInvalid    = 16000
	vixOutOfRange     = 16007
	vixNoLicense      = 16064
	vixCannotConnect  = 18000
)

// A vixError is an error of VDDK, with what its log says besides.
type vixError struct {
	code uint32
	log  string
	loud bool // the log is a warning, which programs show
}

func (e *vixError) Error() string { return fmt.Sprintf("VIX error %d: %s", e.code, e.log) }

// vix is an error whose log is a warning.
func vix(code uint32, format string, args ...any) *vixError {
	return &vixError{code, fmt.Sprintf(format, args...), true}
}

// quiet is an error whose log only shows to who asks for it.
func quiet(code uint32, format string, args ...any) *vixError {
	return &vixError{code, fmt.Sprintf(format, args...), false}
}

const (
	diskHeadLength  = 40
	diskReplyLength = 24

	// maxTransfer is the most that one call reads or writes, in bytes.
	maxTransfer = 64 << 20
	// maxText is the most that a call other than a write carries.
	maxText = 64 << 10

	minChunk  = 128        // sectors; VIXDISKLIB_MIN_CHUNK_SIZE
	maxChunk  = 128 << 10  // VIXDISKLIB_MAX_CHUNK_SIZE
	maxChunks = 512 * 1024 // VIXDISKLIB_MAX_CHUNK_NUMBER
)

// A diskHead begins every request.
type diskHead struct {
	op, handle uint32
	length     uint32 // of the payload
	tag        uint64
	sector     uint64
	sectors    uint64
}

var errDiskWire = errors.New("not the protocol of the disk port")

func readDiskHead(r io.Reader) (h diskHead, err error) {
	var b [diskHeadLength]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, err
	}
	le := binary.LittleEndian
	h = diskHead{le.Uint32(b[0:]), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])}
	most := uint32(maxText)
	if h.op == diskWrite {
		most = maxTransfer
	}
	if diskOps[h.op] == "" || h.length > most || le.Uint32(b[12:]) != 0 {
		return h, errDiskWire
	}
	return h, nil
}

// Flags of a reply.
const (
	replyWarn = 1 << iota // the payload is a line for the library's warnings
	replyDie              // the error is the signal that the library dies of
	replyLog              // the payload is a line for the library's log
)

func appendDiskReply(b []byte, tag uint64, code, flags uint32, length int) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, tag)
	b = le.AppendUint32(b, code)
	b = le.AppendUint32(b, flags)
	return le.AppendUint64(b, uint64(length))
}

// A diskLogin is what ConnectEx is called with.
type diskLogin struct {
	vm, server, thumbprint string
	port                   int  // of vCenter's API; 0: not given
	session                bool // secret is a session's cookie
	user, secret           string
	snapshot, transports   string
	readOnly               bool
}

func parseDiskLogin(b []byte) (l diskLogin, err error) {
	var text [11]string
	for i := range text {
		if len(b) < 4 {
			return l, errDiskWire
		}
		n := binary.LittleEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return l, errDiskWire
		}
		text[i], b = string(b[4:4+n]), b[4+n:]
	}
	if len(b) > 0 || text[0] != "vddk 1" {
		return l, errDiskWire
	}
	port, err := strconv.ParseUint(text[3], 10, 16)
	if err != nil {
		return l, errDiskWire
	}
	return diskLogin{
		vm: text[1], server: text[2], port: int(port), thumbprint: text[4], session: text[5] == "session",
		user: text[6], secret: text[7], snapshot: text[8], transports: text[9], readOnly: text[10] == "ro",
	}, nil
}

// encodeOpened is the answer to Open.
func encodeOpened(h *diskHandle) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(nil, uint64(h.size/sectorSize))
	for _, n := range []uint32{h.id, adapterLSILogic, uint32(h.layer.depth() + 1), sectorSize, sectorSize, 0} {
		b = le.AppendUint32(b, n)
	}
	var transport [16]byte
	copy(transport[:15], h.transport)
	var uuid [64]byte
	copy(uuid[:63], h.layer.uuid)
	return append(append(b, transport[:]...), uuid[:]...)
}

// adapterLSILogic is VIXDISKLIB_ADAPTER_SCSI_LSILOGIC.
const adapterLSILogic = 3
