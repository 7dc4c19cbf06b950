"""Who the mail says it is from, and whether that holds: SPF, DKIM, DMARC, ARC."""
