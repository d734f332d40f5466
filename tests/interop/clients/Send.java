import java.io.FileInputStream;
import java.util.Properties;
import javax.mail.Session;
import javax.mail.Transport;
import javax.mail.internet.MimeMessage;

/** JavaMail, as most Java business software uses it. Send PORT USER PASSWORD FILE MECHANISM */
public class Send {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("mail.smtp.host", "127.0.0.1");
        properties.put("mail.smtp.port", args[0]);
        properties.put("mail.smtp.auth", "true");
        if (!args[4].isEmpty()) {
            properties.put("mail.smtp.auth.mechanisms", args[4]);
        }
        Session session = Session.getInstance(properties);
        MimeMessage message = new MimeMessage(session, new FileInputStream(args[3]));
        Transport transport = session.getTransport("smtp");
        transport.connect(args[1], args[2]);
        transport.sendMessage(message, message.getAllRecipients());
        transport.close();
    }
}
