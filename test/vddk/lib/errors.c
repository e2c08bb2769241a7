/*
 * The texts of errors. README.md says which of them have a source.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"

static const struct {
	unsigned code;
	const char *text;
} texts[] = {
	{1, "Unknown error"},
	{2, "Memory allocation failed. Out of memory."},
	{3, "One of the parameters was invalid"},
	{4, "A file was not found"},
	{6, "The operation is not supported for the specified parameters"},
	{7, "A file access error occurred on the host or guest operating system"},
	{8, "An error occurred while writing a file; the disk is full. Data has not been saved. Free some space and try again"},
	{11, "The file is write-protected"},
	{13, "You do not have access rights to this file"},
	{15, "The file is already in use"},
	{3014, "Insufficient permissions in the host operating system"},
	{4000, "The virtual machine cannot be found"},
	{13003, "A file by that name does not exist"},
	{14008, "The specified server could not be contacted"},
	{14009, "The server refused connection"},
	{14010, "There was an error in communication"},
	{14011, "The connection was lost"},
	{16000, "One of the parameters supplied is invalid"},
	{16001, "The disk library has not been initialized"},
	{16007, "You have requested access to an area of the virtual disk that is out of bounds"},
	{16064, "The host is not licensed for this feature"},
	{18000, "Cannot connect to host"},
};

EXPORT char *VixDiskLib_GetErrorText(vix_error error, const char *locale)
{
	unsigned code = error & 0xffff;
	char text[64];

	(void)locale;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (texts[i].code == code)
			return strdup(texts[i].text);
	snprintf(text, sizeof text, "Unknown error %u (0x%x)", code, code);
	return strdup(text);
}

EXPORT void VixDiskLib_FreeErrorText(char *text)
{
	free(text);
}
