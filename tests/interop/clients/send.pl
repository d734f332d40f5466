# Net::SMTP: send.pl PORT USER PASSWORD FILE
use strict;
use Net::SMTP;
my ($port, $user, $password, $file) = @ARGV;
my $smtp = Net::SMTP->new("127.0.0.1", Port => $port) or die "no connection";
$smtp->auth($user, $password) or die $smtp->message;
open my $in, "<:raw", $file or die $!;
local $/;
my $text = <$in>;
$text =~ s/\r\n/\n/g;
$smtp->mail($user) && $smtp->to($user) && $smtp->data && $smtp->datasend($text) && $smtp->dataend or die $smtp->message;
$smtp->quit;
